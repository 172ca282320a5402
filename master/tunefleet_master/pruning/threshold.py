"""Fixed bounds on the value of a trial."""

from __future__ import annotations

from typing import ClassVar

from tunefleet.model import counted
from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.pruner import Action, Decision, Pruner, RungArrival
from tunefleet_master.pruning.rungs import RungTable


class ThresholdPruner(Pruner):
    """A pruner that stops a trial if its value is below `lower` or above `upper`, in the user's own sense.

    It is for limits that a user knows beforehand, such as a diverged loss or the accuracy of guessing. It reads only
    the newest value and learns nothing.
    """

    name: ClassVar[str] = "threshold"
    compares: ClassVar[bool] = False

    def __init__(self, pruning: Pruning, *, steps: int | None, sign: float = 1.0) -> None:
        super().__init__(pruning, steps=steps, sign=sign)
        self._lower = pruning.lower
        self._upper = pruning.upper

    def _decide(self, table: RungTable, arrival: RungArrival) -> Decision:
        value = self._sign * arrival.latest
        shown, after = self._format(arrival.latest), f"after {counted(arrival.rung, 'step')}"
        if self._lower is not None and value < self._lower:
            return Decision(Action.STOP, f"{shown} {after} is below the lower bound {self._lower:g}")
        if self._upper is not None and value > self._upper:
            return Decision(Action.STOP, f"{shown} {after} is above the upper bound {self._upper:g}")
        return Decision(Action.CONTINUE, f"{shown} {after} is within the bounds")
