"""Where the objective still falls at the edge of the space: a quadratic through the scores.

Reference:
    Box and Wilson 1951, On the experimental attainment of optimum conditions,
    https://doi.org/10.1111/j.2517-6161.1951.tb00067.x

A parameter that does nothing seems to do much where trials with one value of it were lucky with the others, as they
are when a sampler follows what worked. A model of all parameters at once tells the two apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tunefleet_master.search.axes import Axes, Points
from tunefleet_master.search.history import Values
from tunefleet_master.search.ranks import normal_quantiles

RIDGE = 1e-3  # of a squared coordinate: only what cannot be told apart at all is held back by it
SLOPE_AT = 0.8  # of the way to the edge: there a quadratic is still led by trials on both sides


class ResponseSurface:
    """score = constant + slope and curvature of each number + a step for each value of each choice + noise.

    Fitted by least squares to normal quantiles of the scores' ranks, since a few trials that went wrong must not bend
    it. What is inactive adds nothing.
    """

    def __init__(self, axes: Axes, points: Points, *, scores: Values) -> None:
        """Through scores (n,) at canonical points (n, d); n is at least 3."""
        n = len(scores)
        target = normal_quantiles(scores)
        self._slopes: dict[int, int] = {}
        columns = [np.ones(n)]
        for j in np.flatnonzero(~axes.is_fixed):
            if not axes.is_choice[j]:
                self._slopes[int(j)] = len(columns)
            columns += _columns(points[:, j], axes, int(j))
        design = np.stack(columns, axis=1)
        inverse = np.linalg.inv(design.T @ design + RIDGE * np.eye(design.shape[1]))
        self._coefficients = inverse @ design.T @ target
        self._freedom = max(1, n - design.shape[1])
        rest = target - design @ self._coefficients
        self._covariance = (rest @ rest) / self._freedom * inverse @ design.T @ design @ inverse

    def chance_of_no_fall(self, j: int, *, upper: bool) -> float:
        """How likely so steep a fall towards an end of a number's axis is, if there is none: a one-sided t-test."""
        from scipy.stats import t

        towards = 1.0 if upper else -1.0
        gradient = np.zeros(len(self._coefficients))
        gradient[self._slopes[j]] = towards
        gradient[self._slopes[j] + 1] = 2 * (SLOPE_AT - 0.5)
        slope = float(gradient @ self._coefficients)
        error = float(np.sqrt(gradient @ self._covariance @ gradient))
        return float(t.cdf(slope / error, self._freedom)) if error > 0 else float(slope >= 0)


def _columns(coordinates: Values, axes: Axes, j: int) -> Iterator[Values]:
    """What axis j adds to the design: its coordinate about the middle and the square of it, or a 1 for each value."""
    known = ~np.isnan(coordinates)
    if axes.is_choice[j]:
        size = int(axes.n_levels[j])
        levels = np.where(known, np.minimum(np.nan_to_num(coordinates) * size, size - 1).astype(np.int64), -1)
        yield from ((levels == level).astype(np.float64) for level in range(size))
    else:
        centred = np.where(known, coordinates - 0.5, 0.0)
        yield centred
        yield centred**2
    if axes.is_conditional[j]:
        yield known.astype(np.float64)
