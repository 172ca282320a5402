"""The median stopping rule."""

from __future__ import annotations

from typing import ClassVar

from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.percentile import PercentilePruner


class MedianPruner(PercentilePruner):
    """Stops a trial that is worse than the median of the complete trials was after as many steps.

    Where `PercentilePruner` keeps a share that the user sets, this keeps one half; all else is said there.
    """

    name: ClassVar[str] = "median"

    def __init__(self, pruning: Pruning, *, steps: int | None, sign: float = 1.0) -> None:
        super().__init__(pruning, steps=steps, sign=sign)
        self._percentile = 50.0

    def _words(self) -> str:
        return "the median"
