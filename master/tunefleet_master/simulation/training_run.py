"""A training run that is known beforehand: its curve, and the duration of each part of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tunefleet.study.space import Configuration


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One training run, from its first report to its last.

    Attributes:
        values: the objective's metric in each report, in the user's own sense; NaN where it is not a number. A run that
            reports at its end only has one.
        ends_s: the time of each report, in seconds of training since the start; rising.
        steps: the number of steps run by each report; rising. If empty, there is a report after each step.

    Raises ValueError if there is no report, if the lengths differ, or if times or steps do not rise.
    """

    values: tuple[float, ...]
    ends_s: tuple[float, ...]
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.steps:
            object.__setattr__(self, "steps", tuple(range(1, len(self.values) + 1)))
        if not self.values or not len(self.values) == len(self.ends_s) == len(self.steps):
            raise ValueError(f"{len(self.values)} values, {len(self.ends_s)} times and {len(self.steps)} steps")
        if not (_rises(self.ends_s) and _rises(self.steps) and math.isfinite(self.ends_s[-1])):
            raise ValueError("times and steps must rise, from above zero")

    def part_s(self, index: int) -> float:
        """Return the seconds between report `index`, counted from 0, and the report before it."""
        return self.ends_s[index] - (self.ends_s[index - 1] if index else 0.0)


Trainer = Callable[[Configuration], TrainingRun]
"""A function from a configuration to its training run."""


def _rises(numbers: tuple[float, ...]) -> bool:
    return all(before < after for before, after in zip((0.0, *numbers), numbers, strict=False))
