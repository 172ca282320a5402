"""The percentile rule, a generalisation of the median stopping rule."""

from __future__ import annotations

from typing import ClassVar

from tunefleet.model import counted
from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.pruner import Action, Decision, Pruner, RungArrival
from tunefleet_master.pruning.rungs import RungTable


class PercentilePruner(Pruner):
    """A pruner that stops a trial if it is not among the best `percentile` percent of the complete trials at its step.

    The median stopping rule of Golovin et al. (2017), Google Vizier, section 3.2,
    https://doi.org/10.1145/3097983.3098043, for any percentile, as in Optuna's PercentilePruner. As there, only trials
    that ran to their end count, so that stopped trials do not make the rule stricter from step to step. Nothing is
    stopped before `startup` of them have a value at the rung.

    Departures: the paper compares a trial's best value with the running averages of the others. On a falling curve the
    average lags behind and lets bad trials pass. Here both sides are the value that a trial would have ended with at
    this step. A trial whose value equals the percentile continues.
    """

    name: ClassVar[str] = "percentile"

    def __init__(self, pruning: Pruning, *, steps: int | None, sign: float = 1.0) -> None:
        super().__init__(pruning, steps=steps, sign=sign)
        self._percentile = pruning.percentile
        self._startup = pruning.startup
        self._interval = pruning.interval

    def new_table(self) -> RungTable:
        """Return an empty table in which only complete trials count."""
        return RungTable(bracket_of=self.bracket, only_complete=True)

    def _last_due(self, n_run: int) -> int:
        return 0 if n_run < self._min else n_run - (n_run - self._min) % self._interval

    def _decide(self, table: RungTable, arrival: RungArrival) -> Decision:
        rung = table.at(arrival.rung, trial=arrival.trial)
        after = f"after {counted(arrival.rung, 'step')}"
        if len(rung) < self._startup:
            message = f"{len(rung)} complete trials have a value {after}; comparison starts at {self._startup}"
            return Decision(Action.CONTINUE, message)
        limit = rung.quantile(self._percentile / 100)
        is_worse = arrival.value > limit
        message = (
            f"{self._format(arrival.value)} is {'worse' if is_worse else 'no worse'} than {self._format(limit)}, "
            f"{self._describe_limit()} of {len(rung)} complete trials {after}"
        )
        return Decision(Action.STOP if is_worse else Action.CONTINUE, message)

    def _describe_limit(self) -> str:
        return f"which bounds the best {self._percentile:g} %"
