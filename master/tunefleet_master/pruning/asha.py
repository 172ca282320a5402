"""Asynchronous successive halving.

Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht, Talwalkar (2020), A System for Massively Parallel
Hyperparameter Tuning, https://arxiv.org/abs/1810.05934, algorithm 2. Its names and ours: r is `min`, R is `max`.

Notation:
    r_k = min * eta^k    the rungs, as long as they do not exceed `max`
    n                    the number of trials that have reached a rung so far, including those that continued
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from tunefleet.model import counted
from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.pruner import Action, Decision, Pruner, RungArrival
from tunefleet_master.pruning.rungs import Rung, RungTable


class AshaPruner(Pruner):
    """A pruner that continues a trial if it is among the best 1/eta of those that have reached its rung so far.

    With `mode: promote` this is the paper's algorithm. Each trial is paused at each rung, and promoted as soon as it is
    among the best floor(n/eta); until eta trials have reached the rung, all of them wait. A trial that is among the
    best
    on arrival continues at once: its worker would be given the same trial, since no other trial can have become
        promotable. When no more trials come, the best of each rung continues even if it is alone there. Otherwise a
        study of fewer than eta trials would end without a trained model.

    With `mode: stop`, as in Syne Tune, Ray Tune and Optuna, a trial that is not among the best on arrival ends and
    needs no checkpoint. Since it cannot come back, the best so far always continues: max(1, floor(n/eta)) of n trials.

    Departures from the paper: a trial that continues from the last rung runs all its steps, even beyond `max`. The last
    step is also recorded as a rung, but decides nothing.
    """

    name: ClassVar[str] = "asha"

    def __init__(self, pruning: Pruning, *, steps: int | None, sign: float = 1.0) -> None:
        super().__init__(pruning, steps=steps, sign=sign)
        self.pauses = pruning.mode == "promote"
        self._eta = pruning.eta
        self._rungs = rungs(pruning, steps=steps)

    def promotable(self, table: RungTable, *, is_final: bool = False) -> Iterator[int]:
        """Yield the paused trials among the best of their rungs, from the highest rung down, the best first."""
        for rung in table.with_paused():
            n_best = self._n_best(rung, at_least=1 if is_final else 0)
            for value, trial in rung.paused:
                if rung.rank(value, trial) >= n_best:
                    break
                yield trial

    def _last_due(self, n_run: int) -> int:
        return max((rung for rung in self._rungs if rung <= n_run), default=0)

    def _decide(self, table: RungTable, arrival: RungArrival) -> Decision:
        rung = table.at(arrival.rung, trial=arrival.trial)
        n_best = self._n_best(rung, at_least=0 if self.pauses else 1)
        rank = rung.rank(arrival.value, arrival.trial)
        message = (
            f"{self._format(arrival.value)} is rank {rank + 1} of {len(rung)} after {counted(arrival.rung, 'step')}; "
            f"{self._describe_survivors(n_best)}"
        )
        if rank < n_best:
            return Decision(Action.CONTINUE, message)
        return Decision(Action.PAUSE if self.pauses else Action.STOP, message)

    def _n_best(self, rung: Rung, *, at_least: int) -> int:
        return max(at_least, len(rung) // self._eta)

    def _describe_survivors(self, n_best: int) -> str:
        match n_best:
            case 0:
                return f"none continues before {self._eta} trials have reached this step"
            case 1:
                return "the best one continues"
        return f"the best {n_best} continue"


def rungs(pruning: Pruning, *, steps: int | None) -> tuple[int, ...]:
    """Return the rungs r_k up to `max` and `steps`, at least one rung. At least one of the bounds must be set."""
    highest = min(bound for bound in (pruning.max, steps) if bound is not None)
    found = [pruning.min]
    while found[-1] * pruning.eta <= highest:
        found.append(found[-1] * pruning.eta)
    return tuple(found)
