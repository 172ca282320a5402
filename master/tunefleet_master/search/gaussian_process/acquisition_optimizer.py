"""Maximisation of an acquisition function over reals, integers, choices and conditions.

It evaluates random points of the space and mutations of the best known points. A local search starts at the best of
them and alternates between all values of each discrete axis and the gradient of the real axes.

Notation, in addition to that of `kernel`:
    k   the best known points
    n   points of the local search
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tunefleet_master.search.axes import Mask, Points
from tunefleet_master.search.gaussian_process.acquisition import FeasibilityWeightedAcquisition
from tunefleet_master.search.gaussian_process.kernel import Array, Indices
from tunefleet_master.search.gaussian_process.neighbourhood import Box, Neighbourhood

MAX_SWEEPS = 12  # over the discrete axes within a round; mostly three to six
MIN_GAIN = 1e-6  # of the logarithm; a smaller gain is rounding
CHUNK = 64  # points checked together against constraints or for being new


@dataclass(frozen=True, slots=True)
class SearchBudget:
    """The effort of one maximisation.

    Attributes:
        spread: random points of the whole space.
        mutations: mutations of each known point.
        starts: points from which the local search starts.
        rounds: the most rounds, each of discrete steps and then of gradient steps.
        iterations: the most iterations of L-BFGS in each round.
    """

    spread: int
    mutations: int
    starts: int
    rounds: int
    iterations: int


class AcquisitionOptimizer:
    """One maximisation of an acquisition function within a box."""

    def __init__(
        self,
        acquisition: FeasibilityWeightedAcquisition,
        neighbourhood: Neighbourhood,
        *,
        box: Box,
        generator: np.random.Generator,
    ) -> None:
        self._acquisition = acquisition
        self._neighbourhood = neighbourhood
        self._box = box
        self._generator = generator
        self._points: list[Points] = []
        self._values: list[Array] = []

    def best(self, known: Points, *, budget: SearchBudget, is_new: Callable[[Points], Mask]) -> Points | None:
        """Return the best point (d,) that satisfies `is_new`; None if none was found.

        `known` (k, d) are the best points so far; the search also starts from their mutations.
        """
        points, values = self._starting_points(known, budget)
        for _ in range(budget.rounds):
            points, before = self._sweep_discrete_axes(points, values)
            points, values = self._follow_gradient(points, before, iterations=budget.iterations)
            if not self._neighbourhood.has_steps or np.all(values <= before + MIN_GAIN):
                break
        return self._best_new(is_new)

    def _evaluate(self, points: Points) -> Array:
        values = self._acquisition(points)
        self._points.append(points)
        self._values.append(values)
        return values

    def _starting_points(self, known: Points, budget: SearchBudget) -> tuple[Points, Array]:
        """Return starting points and their values; half are random points, since mutations tend to be alike."""
        spread = self._neighbourhood.spread(self._generator, self._box, n=budget.spread)
        near = self._neighbourhood.mutations(self._generator, known, box=self._box, n=budget.mutations)
        points = np.vstack([spread, near])
        values = self._evaluate(points)
        far = self._best_allowed(spread, values[: len(spread)], n=budget.starts // 2)
        best = self._best_allowed(points, values, n=budget.starts)
        chosen = np.concatenate([far, best[~np.isin(best, far)]])[: budget.starts]
        return points[chosen], values[chosen]

    def _best_allowed(self, points: Points, values: Array, *, n: int) -> Indices:
        """Return the indices of the n best allowed points, the best first; constraints are slow, so few are checked."""
        order = np.argsort(-values, kind="stable")
        found: list[Indices] = []
        for begin in range(0, len(order), CHUNK):
            chunk = order[begin : begin + CHUNK]
            found.append(chunk[self._neighbourhood.allowed(points[chunk])])
            if sum(map(len, found)) >= n:
                break
        return np.concatenate([*found, np.empty(0, dtype=np.int64)])[:n]

    def _sweep_discrete_axes(self, points: Points, values: Array) -> tuple[Points, Array]:
        """Repeat the best step along a discrete axis from each point, until no step improves it."""
        points, values = points.copy(), values.copy()
        active = np.arange(len(points))
        for _ in range(MAX_SWEEPS):
            near, origins = self._neighbourhood.neighbours(points[active], self._box)
            if not len(near):
                break
            candidate_values = self._evaluate(near)
            improved = []
            for i, start in enumerate(active):
                above = np.flatnonzero((origins == i) & (candidate_values > values[start] + MIN_GAIN))
                for top in above[self._best_allowed(near[above], candidate_values[above], n=1)]:
                    points[start], values[start] = near[top], candidate_values[top]
                    improved.append(start)
            active = np.array(improved, dtype=np.int64)
            if not len(active):
                break
        return points, values

    def _follow_gradient(self, points: Points, values: Array, *, iterations: int) -> tuple[Points, Array]:
        """Run L-BFGS along the real axes from all points at once: the sum of functions of separate variables."""
        from scipy.optimize import minimize

        axes = self._acquisition.features.real_axes
        if not len(axes):
            return points, values
        is_active = ~np.isnan(points[:, axes])

        def descent(flat: Array) -> tuple[float, Array]:
            moved = points.copy()
            moved[:, axes] = np.where(is_active, flat.reshape(len(points), -1), np.nan)
            value, gradient = self._acquisition.with_gradient(moved)
            return -float(value.sum()), -np.where(is_active, gradient, 0.0).ravel()

        found = minimize(
            descent,
            np.nan_to_num(points[:, axes], nan=0.5).ravel(),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(self._box.low[axes], self._box.high[axes], strict=True)) * len(points),
            options={"maxiter": iterations},
        )
        moved = points.copy()
        moved[:, axes] = np.where(is_active, found.x.reshape(len(points), -1), np.nan)
        moved = self._neighbourhood.canonical(np.where(np.isnan(moved), 0.5, moved))
        candidate_values = self._evaluate(moved)
        better = (candidate_values > values) & self._neighbourhood.allowed(moved)
        return np.where(better[:, None], moved, points), np.where(better, candidate_values, values)

    def _best_new(self, is_new: Callable[[Points], Mask]) -> Points | None:
        points, values = np.vstack(self._points), np.concatenate(self._values)
        order = np.argsort(-values, kind="stable")
        for begin in range(0, len(order), CHUNK):
            chunk = points[order[begin : begin + CHUNK]]
            new = np.flatnonzero(is_new(chunk))
            if len(new):
                return np.asarray(chunk[new[0]])
        return None
