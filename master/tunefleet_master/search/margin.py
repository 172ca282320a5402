"""CMA-ES with margin on the axes of a space. Its import takes a second, since it loads scipy's distributions.

The package `cmaes` implements the method (Hamano et al. 2022, "CMA-ES with margin", https://arxiv.org/abs/2205.13482)
for integers at equal distances, and must receive exactly the points that it drew. Here integers have cells of any
width, as a log scale needs, and results come back as rounded points, some of them from an older distribution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from cmaes import CMAwM  # type: ignore[import-untyped]
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from tunefleet.study.parameters import IntRange
from tunefleet_master.search.axes import Points
from tunefleet_master.search.history import Values

Array = NDArray[np.float64]

EXTREME = 1e-16  # a quantile at 8.2 standard deviations, beyond which 1 - q is 1


class MarginCma(CMAwM):  # type: ignore[misc]
    """An ask-and-tell CMA-ES in the unit cube.

    It overrides how the package looks up values and their limits, but not the method.
    """

    def __init__(
        self, mean: Points, *, sigma: float, integers: Mapping[int, IntRange], size: int | None = None
    ) -> None:
        """Create the initial distribution.

        Args:
            mean: (d,) its mean.
            sigma: its standard deviation on every axis.
            integers: the axes that are integers.
            size: of a generation; None: 4 + 3 ln d.
        """
        spans = [range(parameter.bounds[0], parameter.bounds[1] + 1) for parameter in integers.values()]
        pairs = list(zip(integers.values(), spans, strict=True))
        self._values = [np.array([parameter.to_unit(k) for k in span]) for parameter, span in pairs]
        self._edges = [np.array([parameter.to_unit(k + 0.5) for k in span[:-1]]) for parameter, span in pairs]
        steps = np.zeros(len(mean))
        steps[list(integers)] = [1 / (len(span) - 1) for span in spans]  # so that the package counts as many values
        bounds = np.tile([0.0, 1.0], (len(mean), 1))
        super().__init__(mean=mean.copy(), sigma=sigma, bounds=bounds, steps=steps, population_size=size)

    def draw(self) -> Points:
        """Return a rounded point (d,)."""
        return np.asarray(self.ask()[0])

    def learn(self, points: Points, *, scores: Values, generator: np.random.Generator) -> None:
        """Learn from one generation: rounded points (size, d) and scores (size,), lower being better."""
        drawn = [self._bound_step(self._resample_integers(point, generator)) for point in points]
        self.tell(list(zip(drawn, scores.tolist(), strict=True)))

    def _resample_integers(self, point: Points, generator: np.random.Generator) -> Points:
        """Return a point that this distribution might have drawn and rounded to `point`.

        On an integer's axis it is drawn again within the cell, from the distribution's own marginal. The method learns
        from
        unrounded points: with the centres of cells, an axis would collapse if a whole generation lies in one cell.
        """
        point = point.copy()
        axes = self._discrete_idx
        if not len(axes):
            return point
        mean, stretch = self._cma._mean[axes], self._A[axes]
        width = self._cma._sigma * stretch * np.sqrt(np.diag(self._cma._C)[axes])
        level = self._get_discrete_param_indices(point[axes])
        padded = [np.concatenate([[-np.inf], edges, [np.inf]]) for edges in self._edges]
        low, high = (np.array([edges[i] for edges, i in zip(padded, level + k, strict=True)]) for k in (0, 1))
        below = ndtr((low - mean) / width)
        quantile = below + generator.random(len(axes)) * (ndtr((high - mean) / width) - below)
        # A cell may be too far out for floating-point quantiles: take its edge nearest to the mean.
        within = np.clip(mean + width * ndtri(np.clip(quantile, EXTREME, 1 - EXTREME)), low, high)
        point[axes] = mean + (within - mean) / stretch
        return point

    def _bound_step(self, point: Points) -> Points:
        """Return the point, moved to within the typical distance of a draw from the mean.

        A point of another distribution counts as an injected one. Its step must be bounded, or it inflates the step
        size (Hansen 2011, https://arxiv.org/abs/1110.4181, with its default); one in fifty own draws lies beyond the
        bound.
        """
        cma = self._cma
        variances, vectors = np.linalg.eigh(cma._C)
        step = point - cma._mean
        length = float(np.linalg.norm(vectors.T @ step / np.sqrt(np.maximum(variances, 1e-16)))) / cma._sigma
        max_length = math.sqrt(cma.dim) + 2 * cma.dim / (cma.dim + 2)
        return np.asarray(cma._mean + step * min(1.0, max_length / length)) if length > 0 else point

    def _get_discrete_param_indices(self, values: Array) -> NDArray[np.int64]:
        return np.array([np.searchsorted(edges, value) for edges, value in zip(self._edges, values, strict=True)])

    def _get_discrete_param_values(self, indices: NDArray[np.int64]) -> Array:
        return np.array([values[i] for values, i in zip(self._values, indices, strict=True)])

    def _get_discrete_param_limit_values(self, indices: NDArray[np.int64]) -> Array:
        return np.array([edges[i] for edges, i in zip(self._edges, indices, strict=True)])
