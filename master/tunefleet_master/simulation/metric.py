"""How far apart two configurations are, as far as it matters for how they end.

The distance: along a number it is the difference of the coordinates in the unit cube, each on its parameter's own
scale; along a choice 0 or 1; between active and inactive 1; all of them squared, weighed and added up.

With equal weights a learning rate a thousand times too high is as near as another batch size is, and the nearest row
says little. So the weights are learnt: those with which each row is best predicted by the nearest of the others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tunefleet_master.search.axes import Axes, Mask, Points

Array = NDArray[np.float64]

WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # tried for each axis; none is 0, so that rows stay apart
FEWEST = 50  # rows from which weights are learnt; fewer fit whatever weights by luck
MOST = 400  # rows that they are learnt from
MAX_SWEEPS = 3  # over all axes; mostly the third changes nothing any more


def squared_distances(axes: Axes, point: Points, *, points: Points) -> Array:
    """(n, d): along each axis, from a point (d,) to each of the points (n, d); not weighed yet."""
    apart = np.abs(points - point)
    apart = np.where(axes.is_choice & (apart > 0), 1.0, apart)
    # A NaN is an inactive parameter: no distance where it is inactive in both.
    one_inactive = np.isnan(points) != np.isnan(point)
    return np.asarray(np.where(np.isnan(apart), one_inactive.astype(np.float64), apart) ** 2)


def learnt_weights(axes: Axes, points: Points, *, ends: Array) -> Array:
    """(d,): the weights with which the nearest of the other points (n, d) is most like each in its end (n,).

    Ends are compared by rank, NaN last, so that one that diverged counts no more than any bad one. The weights are
    found by coordinate descent on the mean error of the nearest neighbour, leaving one out; all are 1 for few points.
    """
    weights = np.ones(axes.d)
    if len(points) < FEWEST:
        return weights
    some = np.linspace(0, len(points) - 1, min(len(points), MOST)).astype(np.int64)
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
    """The mean difference in rank between each point and the nearest of the others."""
    nearest = np.where(itself, np.inf, distances).argmin(axis=1)
    return float(np.abs(ranks[nearest] - ranks).mean())
