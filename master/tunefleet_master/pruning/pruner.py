"""The port of all pruners.

Steps are counted in two ways. A report says its number, from 0; a rung says how many steps a trial has run. A trial
that has reported step s has run s + 1 steps, and stands at rung s + 1. Values are minimised throughout.
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
    """What a trial does next; named as the directives of `tunefleet.protocol`."""

    CONTINUE = "continue"
    STOP = "stop"
    """It ends here, as pruned."""
    PAUSE = "pause"
    """It gives its slot away and waits; promoted, it goes on from its checkpoint."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a trial does next, and the evidence for it in words that its user reads."""

    action: Action
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A trial that has just reached a rung.

    Attributes:
        trial: its number.
        rung: how many steps it has run.
        value: what it would end with if it ended here: its best value so far or its last one, whichever the objective
            counts; minimised. NaN is taken for infinity: worse than every number.
        latest: its value at this very step, minimised.
        curve: step and minimised value of each of its reports so far, this one included, in the order of steps; may be
            left empty unless the pruner needs it.
    """

    trial: int
    rung: int
    value: float
    latest: float
    curve: Sequence[tuple[int, float]] = ()


class Pruner(ABC):
    """Decides at rungs whether a trial goes on.

    A pruner is pure and remembers nothing: the same table and the same standing give the same decision, in whatever
    process. What it compares with stands in a table, which is a fold of the study's events. On each report of a trial::

        rung = pruner.rung(step, reached=table.reached(trial))
        if rung is not None:
            if pruner.compares:
                table.record(trial, rung=rung, value=value)
            decision = pruner.decide(table, Standing(trial=trial, rung=rung, value=value, latest=latest))

    Attributes:
        name: as a study names it.
        compares: whether it compares trials, whose values must then be recorded. The table of one that does not stays
            empty.
        needs_curve: whether it reads `Standing.curve`.
        pauses: whether it pauses trials, to promote some of them later.
    """

    name: ClassVar[str]
    compares: ClassVar[bool] = True
    needs_curve: ClassVar[bool] = False

    def __init__(self, pruning: Pruning, *, steps: int | None, sign: float = 1.0) -> None:
        """A pruner for trials of one stage.

        Args:
            pruning: what the study says; sound by `tunefleet.rules.pruning.pruning_problems`.
            steps: how many steps a trial runs that is never stopped; None: the study does not say.
            sign: -1 where the objective is maximised, 1 elsewhere. Messages show values in the user's own sense.
        """
        self.pauses = False
        self._min = pruning.min
        self._steps = steps
        self._sign = sign

    def new_table(self) -> RungTable:
        """An empty table for trials that may be compared: those of one study, one stage and one fold."""
        return RungTable(bracket_of=self.bracket)

    def bracket(self, trial: int) -> int:
        """The bracket of a trial; only trials of one bracket are compared."""
        return 0

    def rung(self, step: int, *, reached: int) -> int | None:
        """The rung that a trial reaches with its report of `step`; None: it reaches none, and nothing is decided.

        `reached` is the last rung that it reached before, by the table; 0 before the first.

        The rung is the number of steps run, also where a report comes later than a rung was due: trials that report
        every fifth step are compared after 5, 10, 15 steps, and never with one that was seen after 3. A trial that is
        run again from an earlier step reaches no rung twice that was recorded. The last step is a rung, too, at which
        nothing is stopped.
        """
        n_run = step + 1
        return n_run if self._due(n_run) > reached else None

    def decide(self, table: RungTable, standing: Standing) -> Decision:
        """What a trial does next that stands at a rung; where the pruner compares, the table has it there already."""
        if self._steps is not None and standing.rung >= self._steps:
            return Decision(Action.CONTINUE, f"it has run all of its {counted(self._steps, 'step')}")
        if math.isnan(standing.value):
            standing = replace(standing, value=math.inf)
        return self._judge(table, standing)

    def promotable(self, table: RungTable, *, is_final: bool = False) -> Iterator[int]:
        """The paused trials that may go on now, in the order in which they should; none where none is paused.

        Lazy, so that the first costs the same however many there are; the table may not change meanwhile.

        Args:
            table: of the study.
            is_final: whether no trial waits or runs and none will be added, so that rungs grow no more but by
                promotion.
        """
        return iter(())

    @abstractmethod
    def _judge(self, table: RungTable, standing: Standing) -> Decision:
        """What a trial does next that stands at a rung before its last step."""

    def _last_due(self, n_run: int) -> int:
        """The last rung that is due after so many steps, 0 before the first; here every step from `min` on is one."""
        return n_run if n_run >= self._min else 0

    def _due(self, n_run: int) -> int:
        if self._steps is not None and n_run >= self._steps:
            return self._steps
        return self._last_due(n_run)

    def _shown(self, value: float) -> str:
        """A minimised value as the user knows it."""
        return f"{self._sign * value + 0.0:.6g}"  # + 0.0: no "-0"
