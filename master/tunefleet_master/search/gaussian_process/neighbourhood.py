"""Where a search may look: all over a space, and near a point of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from tunefleet.study.parameters import Choice, IntRange, Parameter
from tunefleet_master.search.axes import Axes, Mask, Points
from tunefleet_master.search.gaussian_process.kernel import Array, Indices

MAX_VALUES = 20  # of a discrete axis that are all tried
N_STEPS = 10  # up and down along a longer one, each longer than the last by the same ratio
MAX_STEP = 0.5
FINEST, COARSEST = 1e-3, 0.3  # how far a mutation moves a coordinate; the logarithm is uniform
MUTATED = 1.5  # how many coordinates a mutation moves in the mean; never less than MIN_MUTATED of all
MIN_MUTATED = 0.3


@dataclass(frozen=True, slots=True)
class Box:
    """The part of the unit cube to look in.

    Attributes:
        low: (d,) one corner; choices have no order, and so no corners.
        high: (d,) the other one.
        centre: (d,) the point of which coordinates are kept where `share` is less than 1.
        share: how many of its coordinates are drawn anew, in the mean.
    """

    low: Array
    high: Array
    centre: Points
    share: float

    @classmethod
    def whole(cls, d: int) -> Box:
        """All of it."""
        return cls(np.zeros(d), np.ones(d), np.full(d, 0.5), 1.0)


class Neighbourhood:
    """Draws the points that a search looks at. All points that it returns are canonical.

    Attributes:
        has_steps: whether there are discrete axes to step along.
    """

    def __init__(self, axes: Axes) -> None:
        parameters = list(axes.space.parameters.values())
        free = np.flatnonzero(axes.is_discrete & ~axes.is_fixed)
        self._axes = axes
        self._levels = {int(j): _levels(parameters[j]) for j in free if _is_short(parameters[j])}
        self._long = [int(j) for j in free if int(j) not in self._levels]
        self.has_steps = len(free) > 0
        names = axes.space.names
        read = {name for parameter in parameters if parameter.condition for name in parameter.condition.names}
        self._deciding: Indices = np.array([j for j, name in enumerate(names) if name in read], dtype=np.int64)

    def canonical(self, points: Points) -> Points:
        """What `Axes.canonical` gives, but conditions are worked out once for all points where they read the same."""
        out = self._axes.rounded(points)
        if self._axes.has_conditions:
            read = np.nan_to_num(out[:, self._deciding], nan=0.5)
            _, first, which = np.unique(read, axis=0, return_index=True, return_inverse=True)
            out[~self._axes.active(out[first])[which.reshape(-1)]] = np.nan
        return out

    def allowed(self, points: Points) -> Mask:
        """(n,): which of these points the constraints allow."""
        return self._axes.allowed(points)

    def spread(self, generator: np.random.Generator, box: Box, *, n: int) -> Points:
        """Points (n, d) all over a box."""
        low, high = self._corners(box)
        drawn = low + generator.random((n, self._axes.d)) * (high - low)
        if box.share < 1.0:
            kept = generator.random(drawn.shape) >= box.share
            kept[np.arange(n), generator.integers(self._axes.d, size=n)] = False
            drawn = np.where(kept, np.nan_to_num(box.centre, nan=0.5), drawn)
        return self.canonical(drawn)

    def mutations(self, generator: np.random.Generator, points: Points, *, box: Box, n: int) -> Points:
        """Points (n k, d), n near each of the points (k, d): choices at random, everything else a step away."""
        base = np.repeat(np.nan_to_num(points, nan=0.5), n, axis=0)
        scale = np.exp(generator.uniform(np.log(FINEST), np.log(COARSEST), (len(base), 1)))
        stepped = base + scale * generator.standard_normal(base.shape)
        anew = np.where(self._axes.is_choice, generator.random(base.shape), stepped)
        is_moved = generator.random(base.shape) < max(MUTATED / self._axes.d, MIN_MUTATED)
        return self.canonical(np.clip(np.where(is_moved, anew, base), *self._corners(box)))

    def neighbours(self, points: Points, box: Box) -> tuple[Points, Indices]:
        """What differs from one of the points (k, d) on one discrete axis; and which point each belongs to."""
        low, high = self._corners(box)
        found, owners = [], []
        for i, point in enumerate(points):
            for j in (*self._levels, *self._long):
                if not np.isnan(point[j]):
                    values = self._values(point, j)
                    values = values[(values >= low[j]) & (values <= high[j]) & (values != point[j])]
                    moved = np.repeat(np.nan_to_num(point, nan=0.5)[None], len(values), axis=0)
                    moved[:, j] = values
                    found.append(moved)
                    owners.append(np.full(len(values), i))
        if not found:
            return np.empty((0, self._axes.d)), np.empty(0, dtype=np.int64)
        return self.canonical(np.vstack(found)), np.concatenate(owners)

    def _values(self, point: Points, j: int) -> Array:
        if j in self._levels:
            return self._levels[j]
        steps = np.geomspace(1.0 / self._axes.n_levels[j], MAX_STEP, N_STEPS)
        return cast("Array", np.concatenate([point[j] - steps, point[j] + steps]))

    def _corners(self, box: Box) -> tuple[Array, Array]:
        return np.where(self._axes.is_choice, 0.0, box.low), np.where(self._axes.is_choice, 1.0, box.high)


def _is_short(parameter: Parameter) -> bool:
    # All values of a choice, however many: steps along them mean nothing.
    return isinstance(parameter, Choice) or (parameter.size or 0) <= MAX_VALUES


def _levels(parameter: Parameter) -> Array:
    """The coordinates of all values."""
    values = (
        range(parameter.bounds[0], parameter.bounds[1] + 1) if isinstance(parameter, IntRange) else parameter.grid()
    )
    return np.array([parameter.to_unit(value) for value in values])
