"""What a training would do, known beforehand: its curve, and how long each part of it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tunefleet.study.space import Configuration


@dataclass(frozen=True, slots=True)
class Training:
    """One training from its first report to its last.

    Attributes:
        values: the objective's metric in each report, in the user's own sense; NaN where it is no number. A training
            that is measured at its end only has one.
        ends_s: when each report comes, in seconds of training since it began; rising.
        steps: how many steps have been run by each report; rising. Not given: a report after each step.

    Raises ValueError when there is no report, when the three have different lengths, or when one does not rise.
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
        """How long it takes from the report before to report number `index`, counted from 0."""
        return self.ends_s[index] - (self.ends_s[index - 1] if index else 0.0)


Trainer = Callable[[Configuration], Training]
"""What would happen to a configuration."""


def _rises(numbers: tuple[float, ...]) -> bool:
    return all(before < after for before, after in zip((0.0, *numbers), numbers, strict=False))
