"""The median stopping rule."""

from __future__ import annotations

from typing import ClassVar

from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.percentile import PercentilePruner


class MedianPruner(PercentilePruner):
    """A pruner that stops a trial if it is worse than the median of the complete trials at the same step.

    It is `PercentilePruner` with a percentile of 50.
    """

    name: ClassVar[str] = "median"

    def __init__(self, pruning: Pruning, *, steps: int | None, sign: float = 1.0) -> None:
        super().__init__(pruning, steps=steps, sign=sign)
        self._percentile = 50.0

    def _describe_limit(self) -> str:
        return "the median"
