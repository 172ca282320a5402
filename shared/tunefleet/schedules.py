"""Which schedules of the learning rate there are, and what each must be told: plain data, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.parameters import Parameter, extremes

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
"""By name: what `period` means to the schedule, None when it has none."""

NAMES = tuple(PERIODS)
PERIODIC = tuple(name for name, meaning in PERIODS.items() if meaning is not None)
READERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"period": PERIODIC, "decay": ("step", "plateau", "grow_batch"), "cycle_growth": ("sgdr",)}
)
"""The parameters that only some schedules read, with these schedules."""


def schedule_problems(space: Mapping[str, Parameter], *, lengths: Sequence[int]) -> Iterator[Problem]:
    """What is wrong with a built-in task's schedules: parameters that one needs, that none reads, that are too long.

    Args:
        space: its values are ones that the task takes.
        lengths: how many epochs the study's trials train, by stage; empty when it does not say.
    """
    names = [str(name) for name in extremes(space["schedule"])] if "schedule" in space else ["constant"]
    yield from _missing(space, names)
    for key, readers in READERS.items():
        if key in space and not set(names) & set(readers):
            rule = f"is read by the schedules {', '.join(readers)} only, and the study has none of them; leave it out"
            yield Problem(f"space.{key}", rule)
    if lengths:
        yield from _too_long(space, shortest=min(lengths), longest=max(lengths))


def _missing(space: Mapping[str, Parameter], names: Sequence[str]) -> Iterator[Problem]:
    needy = [name for name in names if name in PERIODIC]
    if needy and "period" not in space:
        rule = f"is required by the schedule {needy[0]!r}: {PERIODS[needy[0]]}, such as `period: {{fixed: 5}}`"
        yield Problem("space.period", rule)


def _too_long(space: Mapping[str, Parameter], *, shortest: int, longest: int) -> Iterator[Problem]:
    if "period" in space:
        period = min(value for value in extremes(space["period"]) if isinstance(value, int))
        if period > longest:
            rule = f"must be at most the {longest} steps that a trial trains, or the schedule never acts"
            yield Problem("space.period", rule, shown(period))
    if "warmup" in space:
        warmup = max(value for value in extremes(space["warmup"]) if isinstance(value, int | float))
        if warmup >= shortest:
            rule = f"must be below the {shortest} steps that a trial trains, or it ends before the rate is reached"
            yield Problem("space.warmup", rule, shown(warmup))
