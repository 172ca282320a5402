"""The port of all pruners.

A report has a step number, from 0; a rung is a number of steps run. A trial that has reported step s has run s + 1
steps and is at rung s + 1. Values are minimised throughout.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

from tunefleet.model import counted
from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.rungs import RungTable


class Action(StrEnum):
    """The next action of a trial, named like the directives of `tunefleet.protocol`."""

    CONTINUE = "continue"
    STOP = "stop"
    """The trial ends here, as pruned."""
    PAUSE = "pause"
    """The trial frees its slot and waits; once promoted, it continues from its checkpoint."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The next action of a trial, and the reason for it as a message to the user."""

    action: Action
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RungArrival:
    """The arrival of a trial at a rung.

    Attributes:
        trial: its number.
        rung: the number of steps that it has run.
        value: the value that it would end with now, minimised: its best or its last one, as the objective says. NaN
            counts
            as infinity: worse than every number.
        latest: its value at this step, minimised.
        curve: step and minimised value of each of its reports so far, in the order of steps; may be empty unless the
            pruner needs it.
    """

    trial: int
    rung: int
    value: float
    latest: float
    curve: Sequence[tuple[int, float]] = ()


class Pruner(ABC):
    """A pruner decides at rungs whether a trial continues.

    It is pure and stateless: the same table and the same arrival give the same decision in any process. The values to
    compare with are in a table, which is a fold of the study's events. For each report of a trial::

        rung = pruner.rung(step, reached=table.reached(trial))
        if rung is not None:
            if pruner.compares:
                table.record(trial, rung=rung, value=value)
            decision = pruner.decide(table, RungArrival(trial=trial, rung=rung, value=value, latest=latest))

    Attributes:
        name: the name in a study file.
        compares: True if it compares trials and their values must be recorded; otherwise the table stays empty.
        needs_curve: True if it reads `RungArrival.curve`.
        pauses: True if it pauses trials, to promote some of them later.
    """

    name: ClassVar[str]
    compares: ClassVar[bool] = True
    needs_curve: ClassVar[bool] = False

    def __init__(self, pruning: Pruning, *, steps: int | None, sign: float = 1.0) -> None:
        """Create a pruner for trials of one stage.

        Args:
            pruning: the study's settings, validated by `tunefleet.rules.pruning.pruning_problems`.
            steps: the number of steps of a trial that is never stopped; None: the study does not set it.
            sign: -1 if the objective is maximised, else 1. Messages show values in the user's own sense.
        """
        self.pauses = False
        self._min = pruning.min
        self._steps = steps
        self._sign = sign

    def new_table(self) -> RungTable:
        """Return an empty table for comparable trials: those of one study, one stage and one fold."""
        return RungTable(bracket_of=self.bracket)

    def bracket(self, trial: int) -> int:
        """Return the bracket of a trial; only trials of one bracket are compared."""
        return 0

    def rung(self, step: int, *, reached: int) -> int | None:
        """Return the rung that a trial reaches with its report of `step`; None if it reaches none.

        `reached` is the last rung that it reached before, by the table; 0 before the first.

        A rung is the number of steps run, even if the report comes after a rung was due: trials that report every fifth
        step are compared after 5, 10, 15 steps, and never with one that reported after 3. A trial that runs again from
        an earlier step does not reach a recorded rung twice. The last step is also a rung, but nothing is stopped
        there.
        """
        n_run = step + 1
        return n_run if self._due(n_run) > reached else None

    def decide(self, table: RungTable, arrival: RungArrival) -> Decision:
        """Decide on a trial at a rung. If the pruner compares trials, the table must already contain this one."""
        if self._steps is not None and arrival.rung >= self._steps:
            return Decision(Action.CONTINUE, f"it has run all of its {counted(self._steps, 'step')}")
        if math.isnan(arrival.value):
            arrival = replace(arrival, value=math.inf)
        return self._decide(table, arrival)

    def promotable(self, table: RungTable, *, is_final: bool = False) -> Iterator[int]:
        """Yield the paused trials that may continue now, in the order in which they should.

        The iterator is lazy, so that the first trial costs the same with any number of them. The table must not change
        while it is in use.

        Args:
            table: of the study.
            is_final: True if no trial waits or runs and none will be added, so that rungs grow by promotion only.
        """
        return iter(())

    @abstractmethod
    def _decide(self, table: RungTable, arrival: RungArrival) -> Decision:
        """Decide on a trial at a rung before its last step."""

    def _last_due(self, n_run: int) -> int:
        """Return the last rung due after `n_run` steps, 0 before the first; here every step from `min` on is a rung."""
        return n_run if n_run >= self._min else 0

    def _due(self, n_run: int) -> int:
        if self._steps is not None and n_run >= self._steps:
            return self._steps
        return self._last_due(n_run)

    def _format(self, value: float) -> str:
        """Format a minimised value in the user's own sense."""
        return f"{self._sign * value + 0.0:.6g}"  # + 0.0 avoids "-0"
