"""Candidate points of the acquisition optimizer: random points of a box, mutations and neighbours.

Notation, in addition to that of `kernel`:
    k   points that are mutated or have their neighbours listed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from tunefleet.study.parameters import Choice, IntRange, Parameter
from tunefleet_master.search.axes import Axes, Mask, Points
from tunefleet_master.search.gaussian_process.kernel import Array, Indices

MAX_VALUES = 20  # an axis with at most this many values is enumerated
N_STEPS = 10  # up and down on a longer axis, in geometric progression
MAX_STEP = 0.5
FINEST, COARSEST = 1e-3, 0.3  # the range of a mutation's step size; its logarithm is uniform
MUTATED = 1.5  # the mean number of coordinates that a mutation moves, at least MIN_MUTATED of all
MIN_MUTATED = 0.3


@dataclass(frozen=True, slots=True)
class Box:
    """The part of the unit cube to search.

    Attributes:
        low: (d,) the lower corner; it does not apply to choices, which have no order.
        high: (d,) the upper corner.
        centre: (d,) the coordinates that are retained where `share` is less than 1.
        share: the mean share of a point's coordinates that are drawn at random.
    """

    low: Array
    high: Array
    centre: Points
    share: float

    @classmethod
    def whole(cls, d: int) -> Box:
        """Return the whole cube."""
        return cls(np.zeros(d), np.ones(d), np.full(d, 0.5), 1.0)


class Neighbourhood:
    """The generator of candidate points. All points that it returns are canonical.

    Attributes:
        has_steps: True if there are discrete axes to step along.
    """

    def __init__(self, axes: Axes) -> None:
        parameters = list(axes.space.parameters.values())
        free = np.flatnonzero(axes.is_discrete & ~axes.is_fixed)
        self._axes = axes
        self._levels = {int(j): _levels(parameters[j]) for j in free if _is_enumerated(parameters[j])}
        self._stepped = [int(j) for j in free if int(j) not in self._levels]
        self.has_steps = len(free) > 0
        names = axes.space.names
        read = {name for parameter in parameters if parameter.condition for name in parameter.condition.names}
        self._condition_axes: Indices = np.array([j for j, name in enumerate(names) if name in read], dtype=np.int64)

    def canonical(self, points: Points) -> Points:
        """Return `Axes.canonical`, evaluating conditions once per combination of the values that they read."""
        out = self._axes.rounded(points)
        if self._axes.has_conditions:
            read = np.nan_to_num(out[:, self._condition_axes], nan=0.5)
            _, first, which = np.unique(read, axis=0, return_index=True, return_inverse=True)
            out[~self._axes.active(out[first])[which.reshape(-1)]] = np.nan
        return out

    def allowed(self, points: Points) -> Mask:
        """Return a mask (n,) of the points that the constraints allow."""
        return self._axes.allowed(points)

    def spread(self, generator: np.random.Generator, box: Box, *, n: int) -> Points:
        """Return random points (n, d) of a box."""
        low, high = self._corners(box)
        drawn = low + generator.random((n, self._axes.d)) * (high - low)
        if box.share < 1.0:
            is_unchanged = generator.random(drawn.shape) >= box.share
            is_unchanged[np.arange(n), generator.integers(self._axes.d, size=n)] = False
            drawn = np.where(is_unchanged, np.nan_to_num(box.centre, nan=0.5), drawn)
        return self.canonical(drawn)

    def mutations(self, generator: np.random.Generator, points: Points, *, box: Box, n: int) -> Points:
        """Return points (n k, d), n near each of the points (k, d).

        A mutation redraws a choice at random and moves a number by a Gaussian step.
        """
        base = np.repeat(np.nan_to_num(points, nan=0.5), n, axis=0)
        scale = np.exp(generator.uniform(np.log(FINEST), np.log(COARSEST), (len(base), 1)))
        stepped = base + scale * generator.standard_normal(base.shape)
        mutated = np.where(self._axes.is_choice, generator.random(base.shape), stepped)
        is_moved = generator.random(base.shape) < max(MUTATED / self._axes.d, MIN_MUTATED)
        return self.canonical(np.clip(np.where(is_moved, mutated, base), *self._corners(box)))

    def neighbours(self, points: Points, box: Box) -> tuple[Points, Indices]:
        """Return points that differ from one of the points (k, d) on one discrete axis, and the index of each one."""
        low, high = self._corners(box)
        found, origins = [], []
        for i, point in enumerate(points):
            for j in (*self._levels, *self._stepped):
                if not np.isnan(point[j]):
                    values = self._values(point, j)
                    values = values[(values >= low[j]) & (values <= high[j]) & (values != point[j])]
                    moved = np.repeat(np.nan_to_num(point, nan=0.5)[None], len(values), axis=0)
                    moved[:, j] = values
                    found.append(moved)
                    origins.append(np.full(len(values), i))
        if not found:
            return np.empty((0, self._axes.d)), np.empty(0, dtype=np.int64)
        return self.canonical(np.vstack(found)), np.concatenate(origins)

    def _values(self, point: Points, j: int) -> Array:
        if j in self._levels:
            return self._levels[j]
        steps = np.geomspace(1.0 / self._axes.n_levels[j], MAX_STEP, N_STEPS)
        return cast("Array", np.concatenate([point[j] - steps, point[j] + steps]))

    def _corners(self, box: Box) -> tuple[Array, Array]:
        return np.where(self._axes.is_choice, 0.0, box.low), np.where(self._axes.is_choice, 1.0, box.high)


def _is_enumerated(parameter: Parameter) -> bool:
    # Enumerate all values of a choice: steps along them mean nothing.
    return isinstance(parameter, Choice) or (parameter.size or 0) <= MAX_VALUES


def _levels(parameter: Parameter) -> Array:
    """Return the coordinates of all values."""
    values = (
        range(parameter.bounds[0], parameter.bounds[1] + 1) if isinstance(parameter, IntRange) else parameter.grid()
    )
    return np.array([parameter.to_unit(value) for value in values])
