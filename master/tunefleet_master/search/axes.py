"""A search space as the axes of a unit cube, for code that works on arrays.

Notation, here and in all samplers:
    d            the number of parameters, active or not; axis j belongs to `space.names[j]`
    point        (d,) coordinates in [0, 1], NaN where a parameter is inactive
    points       (n, d)
    rounded      a coordinate at the centre of the interval of its value, for integers and choices
    canonical    rounded, and NaN exactly where a parameter is inactive
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tunefleet.errors import InvalidInput
from tunefleet.study.parameters import Choice, Fixed, IntRange
from tunefleet.study.space import Configuration, Space

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Axes:
    """A map between the configurations of a space and the points of its unit cube.

    Attributes:
        space: the space.
        d: the number of axes.
        n_levels: (d,) the number of values on each axis; 0 for a real axis.
        is_choice: (d,) True where the values are unordered.
        is_discrete: (d,) True where the values are countable: integers, choices and fixed values.
        is_fixed: (d,) True where there is only one value.
        is_conditional: (d,) True where the parameter has a `when`.
    """

    def __init__(self, space: Space) -> None:
        parameters = list(space.parameters.values())
        self.space = space
        self.d = len(parameters)
        self.n_levels = np.array([parameter.size or 0 for parameter in parameters], dtype=np.int64)
        self.is_choice = np.array([isinstance(parameter, Choice) for parameter in parameters], dtype=np.bool_)
        self.is_discrete = self.n_levels > 0
        self.is_fixed = np.array([isinstance(parameter, Fixed) for parameter in parameters]) | (self.n_levels == 1)
        self.is_conditional = np.array([parameter.when is not None for parameter in parameters], dtype=np.bool_)
        self._log_integers = {
            j: (math.log(parameter.bounds[0] - 0.5), math.log(parameter.bounds[1] + 0.5), parameter.bounds)
            for j, parameter in enumerate(parameters)
            if isinstance(parameter, IntRange) and parameter.log
        }

    @cached_property
    def _read_by_conditions(self) -> list[int]:
        """Return the axes that a `when` reads."""
        conditions = [parameter.condition for parameter in self.space.parameters.values()]
        names = {name for condition in conditions if condition is not None for name in condition.names}
        return [j for j, name in enumerate(self.space.names) if name in names]

    @cached_property
    def has_conditions(self) -> bool:
        """True if any parameter has a `when`."""
        return bool(self.is_conditional.any())

    def point(self, configuration: Configuration) -> Points:
        """Return the rounded point (d,) of a configuration."""
        point = np.full(self.d, np.nan)
        for j, (name, parameter) in enumerate(self.space.parameters.items()):
            if name in configuration:
                point[j] = parameter.to_unit(configuration[name])
        return point

    def points(self, configurations: Sequence[Configuration]) -> Points:
        """Return the points (n, d) of configurations."""
        return np.array([self.point(configuration) for configuration in configurations]).reshape(-1, self.d)

    def holds(self, configuration: Configuration) -> bool:
        """Return True if this is a configuration of the space."""
        try:
            self.space.check(configuration)
        except InvalidInput:
            return False
        return True

    def configuration(self, point: Points) -> Configuration:
        """Return the configuration at a point (d,). Constraints are not checked.

        Coordinates of inactive parameters are ignored and may be NaN.
        """
        return self.space.from_unit(dict(zip(self.space.names, np.nan_to_num(point, nan=0.5).tolist(), strict=True)))

    def rounded(self, points: Points) -> Points:
        """Return the points (n, d) with each coordinate moved to its value; NaN stays NaN.

        Agrees with `from_unit` and `to_unit` of the parameters.
        """
        clipped = np.clip(points, 0.0, 1.0)
        n = np.maximum(self.n_levels, 1)
        levels = np.minimum(np.floor(clipped * n), n - 1)
        out = np.where(self.is_discrete, (levels + 0.5) / n, clipped)
        for j, (low, high, bounds) in self._log_integers.items():
            values = np.clip(np.floor(np.exp(low + clipped[:, j] * (high - low)) + 0.5), *bounds)
            out[:, j] = (np.log(values) - low) / (high - low)
        return out

    def active(self, points: Points) -> Mask:
        """Return a mask (n, d) of the parameters that are active at these points.

        Inactive coordinates may be anything.
        """
        if not self.has_conditions:
            return np.ones(points.shape, dtype=np.bool_)
        # Points that agree on all axes that conditions read have the same active parameters; there are few such groups.
        read = self.rounded(np.nan_to_num(points, nan=0.5))[:, self._read_by_conditions]
        _, first, which = np.unique(read, axis=0, return_index=True, return_inverse=True)
        distinct = [self.configuration(points[i]) for i in first]
        active = np.array([[name in each for name in self.space.names] for each in distinct], dtype=np.bool_)
        return np.asarray(active.reshape(-1, self.d)[which.reshape(-1)])

    def canonical(self, points: Points) -> Points:
        """Return the points (n, d), rounded, with NaN where a parameter is inactive.

        Equal configurations have equal rows.
        """
        out = self.rounded(points)
        if self.has_conditions:
            out[~self.active(out)] = np.nan
        return out

    def allowed(self, points: Points) -> Mask:
        """Return a mask (n,) of the points that the constraints allow."""
        if not self.space.constraints:
            return np.ones(len(points), dtype=np.bool_)
        return np.array([self.space.allows(self.configuration(point)) for point in points], dtype=np.bool_)


def row_keys(points: Points) -> list[bytes]:
    """Return one key for each canonical point (n, d). Two keys are equal if and only if the points are equal."""
    # NaN has many bit patterns, and -0.0 differs from 0.0: map each to one number.
    plain = np.where(np.isnan(points), -1.0, points) + 0.0
    return [row.tobytes() for row in np.ascontiguousarray(plain)]
