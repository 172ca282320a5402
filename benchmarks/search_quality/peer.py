"""The interface of all peers, and spaces for peers that know no conditions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from tunefleet.study.space import Configuration, Space
from tunefleet_master.simulation.tuner import Tuner


@dataclass(frozen=True)
class Setting:
    """The facts that a method gets beside the space.

    Attributes:
        seed: of its random numbers.
        n_trials: how many evaluations there will be; None where the budget is work.
        n_steps: how many steps a full training has.
    """

    seed: int
    n_trials: int | None
    n_steps: int = 1


Builder = Callable[[Space, Setting], Tuner]
"""A method at the start of a study that is minimised. Raises Missing when its package is not installed."""


def without_inactive(space: Space, values: Mapping[str, JsonValue]) -> Configuration:
    """The configuration of a peer that gives all parameters a value, the inactive ones too, which count for nothing."""
    return space.from_unit({name: parameter.to_unit(values[name]) for name, parameter in space.parameters.items()})
