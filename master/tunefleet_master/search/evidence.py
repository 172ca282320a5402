"""What a history says of the objective: points, and one number for each, lower being better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunefleet_master.search.axes import Points
from tunefleet_master.search.history import History, Outcome, Values


@dataclass(frozen=True, slots=True)
class Evidence:
    """What may be learnt from.

    Attributes:
        points: (n, d) canonical points of trials with a result, the first that ended first.
        scores: (n,) lower is better. Without rungs they are the objective's values, minimised. With rungs they are
            normal quantiles of the trials' ranks, since values at different steps cannot be compared.
        infeasible: (k, d) points that could not be trained.
        pending: (p, d) points that wait or run, and of which nothing is known yet.
        are_ranks: whether scores are quantiles of ranks.
    """

    points: Points
    scores: Values
    infeasible: Points
    pending: Points
    are_ranks: bool


def evidence(history: History) -> Evidence:
    """Everything that a history says of its first objective.

    Where trials are stopped early, a trial that went further is better than all that were left behind, and among
    those that stopped at the same rung the value there decides: the order in which successive halving keeps them
    (Jamieson and Talwalkar 2016, algorithm 1). Running trials count as soon as they have reached a rung.
    """
    infeasible = history.points[history.with_outcome(Outcome.INFEASIBLE)]
    if history.rungs():
        chosen, scores = _ranked(history)
        pending = np.setdiff1d(history.pending, chosen)
        return Evidence(history.points[chosen], scores, infeasible, history.points[pending], are_ranks=True)
    chosen = history.with_outcome(Outcome.COMPLETE, Outcome.PRUNED)
    values = history.values[chosen, 0]
    chosen, values = chosen[np.isfinite(values)], values[np.isfinite(values)]
    return Evidence(history.points[chosen], values, infeasible, history.points[history.pending], are_ranks=False)


def _ranked(history: History) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Values]:
    """The trials that reached a rung, in order of their numbers, and the quantiles of their ranks."""
    from scipy.special import ndtri  # scipy takes a second to import, which a master that starts need not wait for

    reached: dict[int, tuple[int, float]] = {}
    for rung in sorted(history.rungs()):
        reached.update({trial: (rung, value) for trial, value in history.rungs()[rung].items()})
    usable = (history.outcomes != Outcome.INFEASIBLE) & (history.outcomes != Outcome.UNKNOWN) & history.fits
    trials = np.array(sorted(trial for trial in reached if usable[trial]), dtype=np.int64)
    steps = np.array([reached[int(trial)][0] for trial in trials], dtype=np.float64)
    values = np.array([reached[int(trial)][1] for trial in trials])
    order = np.lexsort((values, -steps))
    ranks = np.empty(len(trials))
    ranks[order] = np.arange(len(trials))
    return trials, ndtri((ranks + 0.5) / max(1, len(trials)))
