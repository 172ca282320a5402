"""Observations: the points of a history with one score each, which samplers learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from tunefleet_master.search.axes import Mask, Points
from tunefleet_master.search.history import History, Indices, Outcome, Values


@dataclass(frozen=True, slots=True)
class Observations:
    """Data to learn from, for one objective.

    Attributes:
        points: (n, d) canonical points of trials with a result, in the order in which they ended.
        scores: (n,) lower is better. They are minimised values if all trials ran equally long. If some were stopped
            early
            or ran in other stages, they are normal quantiles of ranks: values at different steps are not comparable.
        infeasible: (k, d) infeasible points.
        pending: (p, d) points of trials that wait or run without a result.
        are_ranks: True if scores are quantiles of ranks.
    """

    points: Points
    scores: Values
    infeasible: Points
    pending: Points
    are_ranks: bool


def collect_observations(history: History) -> Observations:
    """Return the observations of a history, for its first objective.

    If trials are stopped early, a trial that ran further is better, and among trials that stopped at the same rung the
    value there decides: the order of successive halving (Jamieson and Talwalkar 2016, algorithm 1). Running trials
        count as soon as they have reached a rung.

    Trials are ranked within their stage only. Trials of earlier stages that lie in the current box get quantiles of
    their own, so that the good ones of each stage count equally. The same applies to each earlier study that this one
    starts
    from: its values may have another scale.
    """
    infeasible = history.points[history.with_outcome(Outcome.INFEASIBLE)]
    chosen = _observed_trials(history)
    points = history.points[chosen]
    pending = history.points[np.setdiff1d(history.pending, chosen)]
    stages = history.stages[chosen]
    priors = history.priors()
    if not history.rungs() and not priors and (len(stages) == 0 or stages.min() == stages.max()):
        return Observations(points, history.values[chosen, 0], infeasible, pending, are_ranks=False)
    scores = np.empty(len(chosen))
    for stage in np.unique(stages):
        of_stage = np.flatnonzero(stages == stage)
        scores[of_stage[best_first(history, chosen[of_stage])]] = rank_quantiles(len(of_stage))
    if priors:
        points = np.vstack([*(ranked for ranked, _ in priors), points])
        scores = np.concatenate([*(rank_quantiles(len(ranked)) for ranked, _ in priors), scores])
        infeasible = np.vstack([*(infeasible_points for _, infeasible_points in priors), infeasible])
    return Observations(points, scores, infeasible, pending, are_ranks=True)


@dataclass(frozen=True, slots=True)
class FrontObservations:
    """Data to learn from, for several objectives.

    Attributes:
        points: (n, d) canonical points of trials with a value of each objective, in the order in which they ended.
        values: (n, m) these values, minimised.
        is_feasible: (n,) True if the trial violates none of the study's bounds on metrics.
        infeasible: (k, d) points that violate a bound, and points that could not be trained.
        pending: (p, d) points that wait or run.
    """

    points: Points
    values: Values
    is_feasible: Mask
    infeasible: Points
    pending: Points


def collect_front_observations(history: History) -> FrontObservations:
    """Return the observations of a history for several objectives, where no trial is stopped early."""
    trials = history.with_outcome(Outcome.COMPLETE, Outcome.INFEASIBLE)
    has_values = np.isfinite(history.values[trials]).all(axis=1)
    is_feasible = history.outcomes[trials] == Outcome.COMPLETE
    with_values = trials[has_values]
    return FrontObservations(
        points=history.points[with_values],
        values=history.values[with_values],
        is_feasible=is_feasible[has_values],
        infeasible=history.points[trials[~is_feasible]],
        pending=history.points[history.pending],
    )


def best_first(history: History, trials: Indices) -> Indices:
    """Return the order (n,) of trials (n,) of one stage: by the last rung reached, then by the value there.

    Each trial must have a value, or have reached a rung.
    """
    reached = np.zeros(len(trials))
    values = history.values[trials, 0].copy()
    for rung in sorted(history.rungs()):
        at = history.rungs()[rung]
        for i, trial in enumerate(trials.tolist()):
            if trial in at:
                reached[i], values[i] = rung, at[trial]
    return np.lexsort((values, -reached))


def rank_quantiles(n: int) -> Values:
    """Return the normal quantiles (n,) of n ranks, the best first."""
    from scipy.special import ndtri  # takes a second, which delays no start of a master

    return np.asarray(ndtri((np.arange(n) + 0.5) / max(1, n)))


def _observed_trials(history: History) -> Indices:
    """Return the trials with a result: in the order in which they ended, or by number where some still run."""
    if not history.rungs():
        ended = history.with_outcome(Outcome.COMPLETE, Outcome.PRUNED)
        return cast("Indices", ended[np.isfinite(history.values[ended, 0])])
    usable = (history.outcomes != Outcome.INFEASIBLE) & (history.outcomes != Outcome.UNKNOWN) & history.fits
    reached = {trial for rung in history.rungs().values() for trial in rung}
    return np.array(sorted(trial for trial in reached if usable[trial]), dtype=np.int64)
