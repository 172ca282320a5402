"""A learnt distance between configurations that predicts the similarity of their results.

The distance is a weighted sum over the axes of squared differences. On a number, the difference is that of the
coordinates in the unit cube, on the parameter's own scale. On a choice it is 0 or 1; between active and inactive, 1.

With equal weights a learning rate a thousand times too high would be as near as another batch size. The weights are
therefore learnt: they minimise the error of predicting each row by the nearest other row.

Notation, in addition to that of `axes`:
    n   rows: configurations with a known result
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tunefleet_master.search.axes import Axes, Mask, Points

Array = NDArray[np.float64]

WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # for each axis; never 0, so that rows stay apart
MIN_ROWS = 50  # rows from which weights are learnt; with fewer, any weights may fit by chance
MAX_ROWS = 400  # rows that weights are learnt from
MAX_SWEEPS = 3  # over all axes; mostly the third changes nothing


def squared_distances(axes: Axes, point: Points, *, points: Points) -> Array:
    """Return the unweighted squared distance (n, d) along each axis from a point (d,) to each of the points (n, d)."""
    apart = np.abs(points - point)
    apart = np.where(axes.is_choice & (apart > 0), 1.0, apart)
    # NaN is an inactive parameter: the distance is 0 where it is inactive in both.
    one_inactive = np.isnan(points) != np.isnan(point)
    return np.asarray(np.where(np.isnan(apart), one_inactive.astype(np.float64), apart) ** 2)


def fit_weights(axes: Axes, points: Points, *, ends: Array) -> Array:
    """Return the weights (d,) with which the nearest other point best predicts the result (n,) of each point (n, d).

    Results are compared by rank, with NaN last, so that a diverged one counts no more than any bad one. The weights are
    found by coordinate descent on the leave-one-out error of the nearest neighbour. They are all 1 for few points.
    """
    weights = np.ones(axes.d)
    if len(points) < MIN_ROWS:
        return weights
    some = np.linspace(0, len(points) - 1, min(len(points), MAX_ROWS)).astype(np.int64)
    ranks = np.argsort(np.argsort(ends[some], kind="stable"), kind="stable").astype(np.float64)
    apart = np.stack([squared_distances(axes, points[i], points=points[some]) for i in some])
    itself = np.eye(len(some), dtype=np.bool_)
    error = _error(apart @ weights, itself, ranks)
    for _ in range(MAX_SWEEPS):
        before = error
        for j in np.flatnonzero(~axes.is_fixed):
            rest = apart @ weights - weights[j] * apart[:, :, j]
            errors = [_error(rest + weight * apart[:, :, j], itself, ranks) for weight in WEIGHTS]
            best = int(np.argmin(errors))
            if errors[best] < error:
                error, weights[j] = errors[best], WEIGHTS[best]
        if error == before:
            break
    return weights


def _error(distances: Array, itself: Mask, ranks: Array) -> float:
    """Return the mean difference in rank between each point and its nearest other point."""
    nearest = np.where(itself, np.inf, distances).argmin(axis=1)
    return float(np.abs(ranks[nearest] - ranks).mean())
