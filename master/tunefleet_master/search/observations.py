"""What a history says of the objective: points, and one number for each, lower being better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from tunefleet_master.search.axes import Mask, Points
from tunefleet_master.search.history import History, Indices, Outcome, Values


@dataclass(frozen=True, slots=True)
class Observations:
    """What may be learnt from.

    Attributes:
        points: (n, d) canonical points of trials with a result, the first that ended first.
        scores: (n,) lower is better. Where all trials ran as long they are the objective's values, minimised. Where
            some were stopped early, or ran in other stages, they are normal quantiles of ranks, since values at
            different steps cannot be compared.
        infeasible: (k, d) points that could not be trained.
        pending: (p, d) points that wait or run, and of which nothing is known yet.
        are_ranks: whether scores are quantiles of ranks.
    """

    points: Points
    scores: Values
    infeasible: Points
    pending: Points
    are_ranks: bool


def evidence(history: History) -> Observations:
    """Everything that a history says of its first objective.

    Where trials are stopped early, a trial that went further is better than all that were left behind, and among
    those that stopped at the same rung the value there decides: the order in which successive halving keeps them
    (Jamieson and Talwalkar 2016, algorithm 1). Running trials count as soon as they have reached a rung.

    Trials of a stage are compared with those of the same stage only. The ones of earlier stages that lie in the box of
    the stage as it is now are ranked anew among each other, so that the good ones of each stage pull alike. So are
    those of each earlier study that this one starts from, whose values may be on another scale.
    """
    infeasible = history.points[history.with_outcome(Outcome.INFEASIBLE)]
    chosen = _known(history)
    points = history.points[chosen]
    pending = history.points[np.setdiff1d(history.pending, chosen)]
    stages = history.stages[chosen]
    priors = history.priors()
    if not history.rungs() and not priors and (len(stages) == 0 or stages.min() == stages.max()):
        return Observations(points, history.values[chosen, 0], infeasible, pending, are_ranks=False)
    scores = np.empty(len(chosen))
    for stage in np.unique(stages):
        of_stage = np.flatnonzero(stages == stage)
        scores[of_stage[best_first(history, chosen[of_stage])]] = quantiles(len(of_stage))
    if priors:
        points = np.vstack([*(ranked for ranked, _ in priors), points])
        scores = np.concatenate([*(quantiles(len(ranked)) for ranked, _ in priors), scores])
        infeasible = np.vstack([*(untrained for _, untrained in priors), infeasible])
    return Observations(points, scores, infeasible, pending, are_ranks=True)


@dataclass(frozen=True, slots=True)
class FrontObservations:
    """What may be learnt from where there are several objectives.

    Attributes:
        points: (n, d) canonical points of trials with a value of each objective, the first that ended first.
        values: (n, m) these values, minimised.
        is_feasible: (n,) whether the trial breaks none of the study's bounds on metrics.
        infeasible: (k, d) points that break one, and points that could not be trained.
        pending: (p, d) points that wait or run.
    """

    points: Points
    values: Values
    is_feasible: Mask
    infeasible: Points
    pending: Points


def front_evidence(history: History) -> FrontObservations:
    """Everything that a history says of several objectives, where no trial is stopped early."""
    trials = history.with_outcome(Outcome.COMPLETE, Outcome.INFEASIBLE)
    has_values = np.isfinite(history.values[trials]).all(axis=1)
    is_feasible = history.outcomes[trials] == Outcome.COMPLETE
    known = trials[has_values]
    return FrontObservations(
        points=history.points[known],
        values=history.values[known],
        is_feasible=is_feasible[has_values],
        infeasible=history.points[trials[~is_feasible]],
        pending=history.points[history.pending],
    )


def best_first(history: History, trials: Indices) -> Indices:
    """The order (n,) of trials (n,) of one stage: the furthest first, and of those that went as far the best one.

    Each must have a value, or have reached a rung.
    """
    reached = np.zeros(len(trials))
    values = history.values[trials, 0].copy()
    for rung in sorted(history.rungs()):
        at = history.rungs()[rung]
        for i, trial in enumerate(trials.tolist()):
            if trial in at:
                reached[i], values[i] = rung, at[trial]
    return np.lexsort((values, -reached))


def quantiles(n: int) -> Values:
    """The normal quantiles (n,) of n ranks, from the best one on."""
    from scipy.special import ndtri  # scipy takes a second to import, which a master that starts need not wait for

    return np.asarray(ndtri((np.arange(n) + 0.5) / max(1, n)))


def _known(history: History) -> Indices:
    """The trials of which something is known: in the order in which they ended, or of their numbers where some run."""
    if not history.rungs():
        ended = history.with_outcome(Outcome.COMPLETE, Outcome.PRUNED)
        return cast("Indices", ended[np.isfinite(history.values[ended, 0])])
    usable = (history.outcomes != Outcome.INFEASIBLE) & (history.outcomes != Outcome.UNKNOWN) & history.fits
    reached = {trial for rung in history.rungs().values() for trial in rung}
    return np.array(sorted(trial for trial in reached if usable[trial]), dtype=np.int64)
