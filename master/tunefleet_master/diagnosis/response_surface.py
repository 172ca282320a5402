"""A quadratic response surface, which shows where the objective still falls at the edge of the space.

Reference:
    Box and Wilson 1951, On the experimental attainment of optimum conditions,
    https://doi.org/10.1111/j.2517-6161.1951.tb00067.x

A parameter without effect may seem to have one if trials with one value of it happen to have good values of the
others, as they do when a sampler exploits. A model of all parameters at once separates the two.

Notation, in addition to that of `axes`:
    n   trials with a score
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tunefleet_master.search.axes import Axes, Points
from tunefleet_master.search.history import Values
from tunefleet_master.search.ranks import normal_quantiles

RIDGE = 1e-3  # of a squared coordinate: it only regularises directions without data
SLOPE_AT = 0.8  # of the way to the edge: there a quadratic is still determined by trials on both sides


class ResponseSurface:
    """score = constant + slope and curvature of each number + an offset for each value of each choice + noise.

    It is fitted by least squares to normal quantiles of the scores' ranks, so that outliers do not distort it. An
    inactive parameter contributes 0.
    """

    def __init__(self, axes: Axes, points: Points, *, scores: Values) -> None:
        """Fit scores (n,) at canonical points (n, d); n is at least 3."""
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
        """Return the p-value of a fall towards an end of a number's axis: a one-sided t-test of the slope."""
        from scipy.stats import t

        towards = 1.0 if upper else -1.0
        gradient = np.zeros(len(self._coefficients))
        gradient[self._slopes[j]] = towards
        gradient[self._slopes[j] + 1] = 2 * (SLOPE_AT - 0.5)
        slope = float(gradient @ self._coefficients)
        error = float(np.sqrt(gradient @ self._covariance @ gradient))
        return float(t.cdf(slope / error, self._freedom)) if error > 0 else float(slope >= 0)


def _columns(coordinates: Values, axes: Axes, j: int) -> Iterator[Values]:
    """Yield the columns of axis j in the design: the centred coordinate and its square, or an indicator per value."""
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
