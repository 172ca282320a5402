"""Early stopping of trials that no longer improve."""

from __future__ import annotations

import math
from typing import ClassVar

from tunefleet.model import counted
from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.pruner import Action, Decision, Pruner, RungArrival
from tunefleet_master.pruning.rungs import RungTable


class PatiencePruner(Pruner):
    """A pruner that stops a trial if its value has not improved by more than `min_delta` for `patience` steps.

    Early stopping (Prechelt 1998, Early Stopping - But When?, criterion UP), as in the callbacks of Keras and
    Lightning. An improvement is measured against the value at the last improvement, so that many small ones add up. The
    unit is steps and not reports, so that the frequency of reports does not matter.

    It reads the trial's own curve only. It saves the flat ends of curves, but a bad trial that still improves runs on.
    It therefore finds a better trial with the same work only if trials run much longer than they improve.
    """

    name: ClassVar[str] = "patience"
    compares: ClassVar[bool] = False
    needs_curve: ClassVar[bool] = True

    def __init__(self, pruning: Pruning, *, steps: int | None, sign: float = 1.0) -> None:
        super().__init__(pruning, steps=steps, sign=sign)
        self._patience = pruning.patience or math.inf
        self._min_delta = pruning.min_delta

    def _decide(self, table: RungTable, arrival: RungArrival) -> Decision:
        best, best_step = math.inf, arrival.rung - 1
        for step, value in arrival.curve:
            if value < best - self._min_delta:
                best, best_step = value, step
        waited = arrival.rung - 1 - best_step
        more = f" by more than {self._min_delta:g}" if self._min_delta else ""
        message = f"{self._format(best)} after {counted(best_step + 1, 'step')} has not been improved on{more} for "
        return Decision(Action.STOP if waited >= self._patience else Action.CONTINUE, message + counted(waited, "step"))
