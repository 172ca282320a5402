"""Hyperband, asynchronously.

Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar (2018), Hyperband: A Novel Bandit-Based Approach to Hyperparameter
Optimization, https://jmlr.org/papers/v18/16-558.html, algorithm 1; run asynchronously as Li et al. (2020, section 3)
propose, with a run of ASHA in the place of each run of successive halving.

Notation:
    s_max           floor(log_eta(max / min)); there are s_max + 1 brackets
    s               the paper's number of a bracket, s_max for the one that stops earliest
    b = s_max - s   ours: bracket b has its first rung at min * eta^b
    n_s             ceil((s_max + 1) * eta^s / (s + 1)), the trials that the paper begins with in bracket s
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import ClassVar

from tunefleet.model import counted
from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.asha import AshaPruner
from tunefleet_master.pruning.pruner import Action, Decision, Standing
from tunefleet_master.pruning.rungs import RungTable

_GOLDEN = (5**0.5 - 1) / 2


class HyperbandPruner(AshaPruner):
    """Several runs of ASHA beside each other, each with another first rung: a hedge against early steps that mislead.

    The share of the trials that a bracket gets is the paper's, n_s of the sum of all, which spends about the same work
    on each. Trials of different brackets are never compared.

    Departures from the paper: it fills one bracket after the other, and a budget that ends before has seen only the
    first; here trial i belongs to the bracket in whose share of [0, 1] the fractional part of i times the golden ratio
    lies, which gives every stretch of trials the right shares (Kuipers and Niederreiter 1974, Uniform Distribution of
    Sequences, chapter 2). Rungs are counted up from `min`, as ASHA has them, and not down from `max`, so that they are
    whole steps; in the last bracket, trials are compared once, at the last rung, where that lies below `steps`.

    Where early steps do tell which trial is good, it finds it later than `asha` does: most of its brackets wait.
    """

    name: ClassVar[str] = "hyperband"

    def __init__(self, pruning: Pruning, *, steps: int | None, sign: float = 1.0) -> None:
        super().__init__(pruning, steps=steps, sign=sign)
        sizes = bracket_sizes(len(self._rungs), eta=pruning.eta)
        self._bounds = [end / sum(sizes) for end in accumulate(sizes)][:-1]

    def bracket(self, trial: int) -> int:
        """From 0, the bracket that compares first, up."""
        return bisect_right(self._bounds, trial * _GOLDEN % 1.0)

    def _judge(self, table: RungTable, standing: Standing) -> Decision:
        first = self._rungs[self.bracket(standing.trial)]
        if standing.rung < first:
            return Decision(Action.CONTINUE, f"trials of its bracket are compared from {counted(first, 'step')} on")
        return super()._judge(table, standing)


def bracket_sizes(n_brackets: int, *, eta: int) -> list[int]:
    """The paper's n_s for each bracket b, for s = s_max down to 0."""
    return [-(-n_brackets * eta**s // (s + 1)) for s in reversed(range(n_brackets))]
