"""Asynchronous Hyperband.

Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar (2018), Hyperband: A Novel Bandit-Based Approach to Hyperparameter
Optimization, https://jmlr.org/papers/v18/16-558.html, algorithm 1. It runs asynchronously, as Li et al. (2020,
section 3) propose: each run of successive halving is replaced by a run of ASHA.

Notation:
    s_max           floor(log_eta(max / min)); there are s_max + 1 brackets
    s               the paper's number of a bracket; s_max stops trials earliest
    b = s_max - s   our number of a bracket; its first rung is at min * eta^b
    n_s             ceil((s_max + 1) * eta^s / (s + 1)), the number of trials that start in bracket s in the paper
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import ClassVar

from tunefleet.model import counted
from tunefleet.study.spec import Pruning
from tunefleet_master.pruning.asha import AshaPruner
from tunefleet_master.pruning.pruner import Action, Decision, RungArrival
from tunefleet_master.pruning.rungs import RungTable

_GOLDEN = (5**0.5 - 1) / 2


class HyperbandPruner(AshaPruner):
    """Several concurrent runs of ASHA with different first rungs: a hedge against misleading early steps.

    The share of a bracket is the paper's, n_s out of the sum of all, which spends about the same work on each bracket.
    Trials of different brackets are never compared.

    Departures from the paper: it fills the brackets one after the other, so a short budget only reaches the first. Here
    the fractional part of i times the golden ratio selects the bracket of trial i: the bracket that contains it as its
        share of [0, 1]. Every stretch of trials then has the right shares (Kuipers and Niederreiter 1974, Uniform
        Distribution of Sequences, chapter 2). Rungs are counted up from `min`, as in ASHA, instead of down from `max`,
        so that they are whole steps. In the last bracket, trials are compared once, at the last rung, if it lies below
        `steps`.

    If early steps do predict the final order, `asha` finds a good trial sooner: most brackets of Hyperband wait longer.
    """

    name: ClassVar[str] = "hyperband"

    def __init__(self, pruning: Pruning, *, steps: int | None, sign: float = 1.0) -> None:
        super().__init__(pruning, steps=steps, sign=sign)
        sizes = bracket_sizes(len(self._rungs), eta=pruning.eta)
        self._bounds = [end / sum(sizes) for end in accumulate(sizes)][:-1]

    def bracket(self, trial: int) -> int:
        """Return the bracket of a trial, from 0; bracket 0 compares first."""
        return bisect_right(self._bounds, trial * _GOLDEN % 1.0)

    def _decide(self, table: RungTable, arrival: RungArrival) -> Decision:
        first = self._rungs[self.bracket(arrival.trial)]
        if arrival.rung < first:
            return Decision(Action.CONTINUE, f"trials of its bracket are compared from {counted(first, 'step')} on")
        return super()._decide(table, arrival)


def bracket_sizes(n_brackets: int, *, eta: int) -> list[int]:
    """Return the paper's n_s for each bracket b, for s = s_max down to 0."""
    return [-(-n_brackets * eta**s // (s + 1)) for s in reversed(range(n_brackets))]
