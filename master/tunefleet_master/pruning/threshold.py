"""A bound that no worthwhile trial passes."""

from __future__ import annotations

from typing import ClassVar

from tunefleet.model import counted
from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.pruner import Action, Decision, Pruner, Standing
from tunefleet_master.pruning.rungs import RungTable


class ThresholdPruner(Pruner):
    """Stops a trial whose value is below `lower` or above `upper`, bounds in the user's own sense.

    For what a user knows beforehand: a loss that has blown up, an accuracy that is still that of guessing. It looks at
    the newest value only and learns nothing, so it finds a better trial with the same work only as far as the bounds
    are good ones.
    """

    name: ClassVar[str] = "threshold"
    compares: ClassVar[bool] = False

    def __init__(self, pruning: Pruning, *, steps: int | None, sign: float = 1.0) -> None:
        super().__init__(pruning, steps=steps, sign=sign)
        self._lower = pruning.lower
        self._upper = pruning.upper

    def _judge(self, table: RungTable, standing: Standing) -> Decision:
        value = self._sign * standing.latest
        shown, after = self._shown(standing.latest), f"after {counted(standing.rung, 'step')}"
        if self._lower is not None and value < self._lower:
            return Decision(Action.STOP, f"{shown} {after} is below the lower bound {self._lower:g}")
        if self._upper is not None and value > self._upper:
            return Decision(Action.STOP, f"{shown} {after} is above the upper bound {self._upper:g}")
        return Decision(Action.CONTINUE, f"{shown} {after} is within the bounds")
