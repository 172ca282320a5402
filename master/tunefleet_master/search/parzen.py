"""Parzen estimators over search spaces: mixtures of one kernel for each observed point.

Notation:
    n   observations
    k   kernels: one for each observation, and the prior as the last; k = n + 1
    c   points at which the density is evaluated
    d   axes of the space
    o   ordered axes among them: reals and integers of more than one value

A kernel is a product over the axes. On a real axis it is a Gaussian truncated to [0, 1]; on an integer axis, the mass
of this Gaussian in the integer's cell; on a choice, a probability for each value. Where an observation lacks a value,
since the axis is inactive, its kernel is the prior's. An axis that is inactive at the evaluated point does not count.
Since activity follows from other coordinates, this is a density over a conditional space, in which a parameter is
modelled jointly with those that it depends on, as in the tree of Bergstra et al. 2011.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tunefleet.study.parameters import IntRange
from tunefleet_master.search.axes import Axes, Points

Array = NDArray[np.float64]

PRIOR_CENTRE, PRIOR_WIDTH = 0.5, 1.0  # of the range: nearly flat (Bergstra et al. 2011, section 4)
FLAT_VARIANCE = 1 / 12  # of a uniform draw from the range
FINEST = 100  # no kernel is narrower than 1/100 of the range: hyperopt's and Optuna's bound
SMALLEST = np.finfo(np.float64).tiny  # a lower bound on the mass of a cell, against underflow


class AxisKinds:
    """The axes of a space by kind, and the cells of its integers. Axes with one value are left out.

    Attributes:
        d: the number of axes.
        d_free: the number of axes with more than one value.
        ordered: (o,) the indices of the reals, then of the integers.
        n_real: the number of reals among these.
        choices: the number of values of each choice, by its index.
    """

    def __init__(self, axes: Axes) -> None:
        is_free = ~axes.is_fixed
        reals = np.flatnonzero(is_free & ~axes.is_discrete)
        integers = np.flatnonzero(is_free & axes.is_discrete & ~axes.is_choice)
        self.d = axes.d
        self.d_free = int(is_free.sum())
        self.ordered = np.concatenate([reals, integers])
        self.n_real = len(reals)
        self.choices = {int(j): int(axes.n_levels[j]) for j in np.flatnonzero(is_free & axes.is_choice)}
        parameters = list(axes.space.parameters.values())
        self._integers = [parameters[j] for j in integers]

    def cells(self, coordinates: Array) -> tuple[Array, Array]:
        """Return the lower and upper edges of the cells of rounded integer coordinates; all (c, integers)."""
        low, high = np.empty((2, *coordinates.shape))
        for i, parameter in enumerate(self._integers):
            assert isinstance(parameter, IntRange)
            low[:, i], high[:, i] = _cell(parameter, coordinates[:, i])
        return low, high


def _cell(parameter: IntRange, at: Array) -> tuple[Array, Array]:
    bottom, top = parameter.bounds[0] - 0.5, parameter.bounds[1] + 0.5
    if not parameter.log:
        half = 0.5 / (top - bottom)
        return at - half, at + half
    span = math.log(top / bottom)
    value = bottom * np.exp(at * span)
    return np.log((value - 0.5) / bottom) / span, np.log((value + 0.5) / bottom) / span


class Parzen:
    """A density over the points of a space."""

    def __init__(self, kinds: AxisKinds, points: Points, *, weights: Array, prior_weight: float) -> None:
        """Take canonical points (n, d), their weights (n,) and the weight of the prior."""
        all_weights = np.append(weights, prior_weight)
        self._kinds = kinds
        self._weights = all_weights / all_weights.sum()
        self._centres, self._widths = _gaussians(points[:, kinds.ordered], kinds.d_free)
        self._below = _cdf(-self._centres / self._widths)
        self._inside = _cdf((1 - self._centres) / self._widths) - self._below
        self._tables = {j: _table(points[:, j], size, prior_weight) for j, size in kinds.choices.items()}

    def draw(self, generator: np.random.Generator, c: int) -> Points:
        """Draw points (c, d) with a coordinate on every axis, not rounded."""
        from scipy.special import ndtri

        kernel = generator.choice(len(self._weights), size=c, p=self._weights)
        quantile = generator.random((c, self._kinds.d))
        points = quantile.copy()
        ordered = self._kinds.ordered
        standard = ndtri(self._below[kernel] + quantile[:, ordered] * self._inside[kernel])
        points[:, ordered] = np.clip(self._centres[kernel] + self._widths[kernel] * standard, 0.0, 1.0)
        for j, table in self._tables.items():
            value = (table[kernel].cumsum(axis=1) < quantile[:, j, None]).sum(axis=1)
            points[:, j] = (np.minimum(value, table.shape[1] - 1) + 0.5) / table.shape[1]
        return points

    def log_density(self, points: Points) -> Array:
        """Return the log-density (c,) at canonical points (c, d); on integers and choices, the log-mass."""
        total = np.log(self._weights) + np.nansum(self._log_ordered(points[:, self._kinds.ordered]), axis=2)
        for j, table in self._tables.items():
            is_active = ~np.isnan(points[:, j])
            value = (points[is_active, j] * table.shape[1]).astype(np.int64)
            total[is_active] += np.log(table[:, value]).T
        return np.asarray(np.logaddexp.reduce(total, axis=1))

    def _log_ordered(self, at: Array) -> Array:
        """Return the logarithms (c, k, o) of all kernels at coordinates (c, o); NaN where these are."""
        r = self._kinds.n_real
        deviations = (at[:, None, :r] - self._centres[:, :r]) / self._widths[:, :r]
        log_real = -0.5 * deviations**2 - np.log(math.sqrt(2 * math.pi) * self._widths[:, :r])
        low, high = (
            _cdf((edge[:, None] - self._centres[:, r:]) / self._widths[:, r:]) for edge in self._kinds.cells(at[:, r:])
        )
        log_whole = np.log(np.maximum(high - low, SMALLEST))
        return np.concatenate([log_real, log_whole], axis=2) - np.log(self._inside)


def _cdf(standard: Array) -> Array:
    from scipy.special import ndtr  # takes a second, which delays no start of a master

    return np.asarray(ndtr(standard))


def _gaussians(coordinates: Array, d: int) -> tuple[Array, Array]:
    """Return the centres and widths (k, o) of the kernels of observations (n, o); NaN stands for a missing value.

    Widths follow Scott's rule for d dimensions (Scott 1992, section 6.3), s n^(-1/(d + 4)), separately on each axis.
    The prior counts as one more observation in the standard deviation s, so that equal observations do not make it
    zero. The lower bound is the "magic clipping" of Bergstra's hyperopt: as wide as if n kernels had to share the
    range.

    hyperopt and Optuna 5 use the distance to the farther neighbour as the width. The density of the bad points is then
    rough, and its gaps are taken for good regions.
    """
    is_known = ~np.isnan(coordinates)
    n_known = is_known.sum(axis=0)
    mean = np.where(is_known, coordinates, 0.0).sum(axis=0) / np.maximum(n_known, 1)
    squares = np.where(is_known, coordinates - mean, 0.0) ** 2
    deviation = np.sqrt((squares.sum(axis=0) + FLAT_VARIANCE) / (n_known + 1))
    widths = deviation * np.maximum(n_known, 1) ** (-1 / (d + 4))
    widths = np.clip(widths, 1 / np.minimum(FINEST, n_known + 2), PRIOR_WIDTH)
    prior = np.ones((1, coordinates.shape[1]))
    return (
        np.vstack([np.where(is_known, coordinates, PRIOR_CENTRE), PRIOR_CENTRE * prior]),
        np.vstack([np.where(is_known, widths, PRIOR_WIDTH), PRIOR_WIDTH * prior]),
    )


def _table(coordinates: Array, size: int, prior_weight: float) -> Array:
    """Return the probability (k, size) that each kernel gives to each value of a choice.

    An observation counts one for its own value. Every value also gets the kernel's share of the prior's weight, as in
    Optuna: with more observations each kernel becomes sharper.
    """
    n = len(coordinates)
    table = np.full((n + 1, size), prior_weight / (n + 1))
    known = np.flatnonzero(~np.isnan(coordinates))
    table[known, (coordinates[known] * size).astype(np.int64)] += 1
    return np.asarray(table / table.sum(axis=1, keepdims=True))
