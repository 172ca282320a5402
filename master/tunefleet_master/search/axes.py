"""A search space as the axes of a unit cube, for code that works on arrays.

Notation, here and in all samplers:
    d            the number of parameters, active or not; axis j is `space.names[j]`
    point        (d,) coordinates in [0, 1], NaN where a parameter is not active
    points       (n, d)
    rounded      a coordinate that stands for a value: the middle of an integer's or a choice's cell
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
    """Maps between the configurations of a space and the points of its unit cube.

    Attributes:
        space: the space.
        d: how many axes there are.
        n_levels: (d,) how many values an axis has; 0 for a real one, which has no end of them.
        is_choice: (d,) whether the axis' values have no order.
        is_discrete: (d,) whether its values can be counted: integers, choices and fixed values.
        is_fixed: (d,) whether it has one value only.
        is_conditional: (d,) whether it has a `when`.
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
        """The axes whose values some `when` looks at."""
        conditions = [parameter.condition for parameter in self.space.parameters.values()]
        names = {name for condition in conditions if condition is not None for name in condition.names}
        return [j for j, name in enumerate(self.space.names) if name in names]

    @cached_property
    def has_conditions(self) -> bool:
        """Whether some parameter has a `when`."""
        return bool(self.is_conditional.any())

    def point(self, configuration: Configuration) -> Points:
        """The point (d,) of a configuration, rounded."""
        point = np.full(self.d, np.nan)
        for j, (name, parameter) in enumerate(self.space.parameters.items()):
            if name in configuration:
                point[j] = parameter.to_unit(configuration[name])
        return point

    def points(self, configurations: Sequence[Configuration]) -> Points:
        """The points (n, d) of configurations."""
        return np.array([self.point(configuration) for configuration in configurations]).reshape(-1, self.d)

    def holds(self, configuration: Configuration) -> bool:
        """Whether this is a configuration of the space."""
        try:
            self.space.check(configuration)
        except InvalidInput:
            return False
        return True

    def configuration(self, point: Points) -> Configuration:
        """The configuration at a point (d,); constraints are not looked at.

        Coordinates of inactive parameters are not looked at, and may be NaN.
        """
        return self.space.from_unit(dict(zip(self.space.names, np.nan_to_num(point, nan=0.5).tolist(), strict=True)))

    def rounded(self, points: Points) -> Points:
        """The points (n, d), each coordinate moved to the value that it stands for; NaN stays NaN.

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
        """(n, d): which parameters are active at these points, whose inactive coordinates may be anything."""
        if not self.has_conditions:
            return np.ones(points.shape, dtype=np.bool_)
        # Points that agree in all that conditions read have the same active parameters; there are few of these.
        read = self.rounded(np.nan_to_num(points, nan=0.5))[:, self._read_by_conditions]
        _, first, which = np.unique(read, axis=0, return_index=True, return_inverse=True)
        distinct = [self.configuration(points[i]) for i in first]
        active = np.array([[name in each for name in self.space.names] for each in distinct], dtype=np.bool_)
        return np.asarray(active.reshape(-1, self.d)[which.reshape(-1)])

    def canonical(self, points: Points) -> Points:
        """The points (n, d), rounded, and NaN where a parameter is not active: equal configurations are equal rows."""
        out = self.rounded(points)
        if self.has_conditions:
            out[~self.active(out)] = np.nan
        return out

    def allowed(self, points: Points) -> Mask:
        """(n,): which points are configurations that the constraints allow."""
        if not self.space.constraints:
            return np.ones(len(points), dtype=np.bool_)
        return np.array([self.space.allows(self.configuration(point)) for point in points], dtype=np.bool_)


def row_keys(points: Points) -> list[bytes]:
    """One key for each canonical point (n, d); equal points, and only they, have equal keys."""
    # A NaN has many patterns of bits, and -0.0 is another pattern than 0.0: one number for each.
    plain = np.where(np.isnan(points), -1.0, points) + 0.0
    return [row.tobytes() for row in np.ascontiguousarray(plain)]
