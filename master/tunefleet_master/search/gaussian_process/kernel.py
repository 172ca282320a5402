"""The kernel: the prior correlation between the values of two configurations.

Notation, here and in this package:
    n   points with a value
    q   points at which a prediction is made
    d   axes of the space
    c   columns: the coordinates in which distances are measured
    g   lengthscales: one for each free axis, and one more for the activity of each conditional axis
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tunefleet_master.search.axes import Axes, Points

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

MIDDLE = 0.5  # the coordinate assumed for an inactive axis


class Features:
    """A map from points to columns, between which plain Euclidean distances are right.

    - A real number or an integer has one column, its coordinate. Points are rounded, so that the kernel is constant
      over all coordinates of the same integer (Garrido-Merchán and Hernández-Lobato 2020,
      https://doi.org/10.1016/j.neucom.2019.11.004).
    - A choice has one column for each of its values; any two different values are at distance 1.
    - A conditional axis has one more column, an indicator of its activity. Two points that both lack the parameter do
      not differ; a point that has it differs from one that lacks it by a learnt distance.

    Since all of this is one Euclidean space, every stationary kernel on it is positive definite.

    Attributes:
        axes: of the space.
        n_groups: g.
        groups: (c,) the index of each column's lengthscale.
        real_columns: (r,) the columns of real axes, along which gradients exist.
        real_axes: (r,) the axes of these columns.
        axis_groups: (d,) the index of each axis' lengthscale; -1 for a fixed axis.
    """

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        kinds: list[tuple[int, int]] = []  # for each column: its axis, and its value, _COORDINATE or _ACTIVE
        groups: list[int] = []
        for j in range(axes.d):
            for values in _columns_of(axes, j):
                groups += [groups[-1] + 1 if groups else 0] * len(values)
                kinds += [(j, value) for value in values]
        self.groups: Indices = np.array(groups, dtype=np.int64)
        self.n_groups = groups[-1] + 1 if groups else 0
        self._axis, self._value = np.array(kinds, dtype=np.int64).reshape(-1, 2).T
        is_real = (self._value == _COORDINATE) & ~axes.is_discrete[self._axis]
        self.real_columns: Indices = np.flatnonzero(is_real)
        self.real_axes: Indices = self._axis[is_real]
        self.axis_groups: Indices = np.full(axes.d, -1)
        self.axis_groups[self._axis[self._value != _ACTIVE]] = self.groups[self._value != _ACTIVE]

    def __call__(self, points: Points) -> Array:
        """Return the columns (q, c) of canonical points (q, d)."""
        at = points[:, self._axis]
        is_active = ~np.isnan(at)
        out = np.where(is_active, at, MIDDLE)
        is_choice = self._value >= 0
        level = np.floor(out[:, is_choice] * self.axes.n_levels[self._axis[is_choice]])
        out[:, is_choice] = math.sqrt(0.5) * (is_active[:, is_choice] & (level == self._value[is_choice]))
        is_flag = self._value == _ACTIVE
        out[:, is_flag] = is_active[:, is_flag]
        return out


_COORDINATE, _ACTIVE = -1, -2


def _columns_of(axes: Axes, j: int) -> list[list[int]]:
    """Return the columns of an axis, in groups that share a lengthscale."""
    groups = []
    if not axes.is_fixed[j]:
        groups.append(list(range(axes.n_levels[j])) if axes.is_choice[j] else [_COORDINATE])
    if axes.is_conditional[j]:
        groups.append([_ACTIVE])
    return groups


def squared_distances(a: Array, b: Array) -> Array:
    """Return the distances (..., n, q) between the rows of a (..., n, c) and of b (..., q, c)."""
    squared = -2.0 * (a @ np.swapaxes(b, -1, -2))
    squared += (a * a).sum(axis=-1)[..., :, None]
    squared += (b * b).sum(axis=-1)[..., None, :]
    return np.maximum(squared, 0.0, out=squared)


def matern(squared: Array) -> tuple[Array, Array]:
    """Return the Matérn-5/2 correlation at squared scaled distances, and its derivative by these.

    It assumes a twice differentiable function, rougher than the squared exponential does (Snoek et al. 2012,
    https://arxiv.org/abs/1206.2944, section 3.1).
    """
    root = np.sqrt(5.0 * squared)
    decay = np.exp(-root)
    root += 1.0
    slope = root * decay
    root += (5.0 / 3.0) * squared
    root *= decay
    slope *= -5.0 / 6.0
    return root, slope
