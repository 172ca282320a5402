"""Schedules of the learning rate, and the parameters that each of them reads: plain data, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PERIODS: Mapping[str, str | None] = MappingProxyType(
    {
        "constant": None,
        "step": "after how many epochs the rate is multiplied by `decay`, again and again",
        "plateau": "for how many epochs the validation loss may stay as it is before the rate is multiplied by `decay`",
        "linear": None,
        "cosine": None,
        "sgdr": "how many epochs the first cycle takes until the warm restart",
        "cyclic": "how many epochs the rate rises, and as many that it falls",
        "1cycle": None,
        "wsd": None,
        "grow_batch": "after how many epochs the batch is divided by `decay`, and the rate is not multiplied by it",
    }
)
"""By name: the meaning of `period` for the schedule; None if it reads no period."""

NAMES = tuple(PERIODS)
PERIODIC = tuple(name for name, meaning in PERIODS.items() if meaning is not None)
READERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"period": PERIODIC, "decay": ("step", "plateau", "grow_batch"), "cycle_growth": ("sgdr",)}
)
"""Parameters that only some schedules read, and these schedules."""
