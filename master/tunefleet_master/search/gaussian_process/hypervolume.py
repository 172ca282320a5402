"""The acquisition function for several objectives: the expected hypervolume improvement.

Notation, in addition to that of `process` and `box_decomposition`:
    o   objectives, each with its own process; member s of all of them is one joint hypothesis
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tunefleet_master.search.axes import Points
from tunefleet_master.search.gaussian_process.acquisition import (
    MIN_Z,
    FeasibilityWeightedAcquisition,
    log_improvement,
)
from tunefleet_master.search.gaussian_process.box_decomposition import (
    BoxDecomposition,
    decompose_nondominated,
)
from tunefleet_master.search.gaussian_process.kernel import Array, Indices
from tunefleet_master.search.gaussian_process.process import GaussianProcess
from tunefleet_master.search.pareto import crowding_distances, front

MARGIN = 0.1  # of a front's range: the distance from its worst values to the reference point (Ishibuchi et al. 2011)
NO_RANGE = 1.0  # the same for a front with a single value: a standard deviation of all values
MAX_FRONT_POINTS = {2: 100, 3: 30, 4: 12}  # points of a front by objectives: with these there are at most 300 cells
MIN_LOG_WIDTH = 1e-15  # a lower bound on the relative width of a box, against cancellation


def reference_point(values: Array) -> Array:
    """Return the reference point (o,), somewhat worse than the worst values of a front (n, o)."""
    worst = values.max(axis=0)
    reach = worst - values.min(axis=0)
    return np.asarray(worst + np.where(reach > 0, MARGIN * reach, NO_RANGE))


class LogExpectedHypervolumeImprovement(FeasibilityWeightedAcquisition):
    """The logarithm of the expected hypervolume improvement, averaged over all members.

    Ament et al. 2023 (https://arxiv.org/abs/2310.20708), section 4.2, with the noise and the pending trials of Daulton
    et al. 2021 (https://arxiv.org/abs/2105.08195): the front is that of the members' posterior means and not of noisy
    observations, and each member draws one joint sample of the results of pending trials. Both papers sample the
    function and optimise a batch jointly. We build a batch one point at a time, for which independent objectives have
    the expectation in closed form. A front with more than `MAX_FRONT_POINTS` points loses its most crowded ones, which
    bounds the number of boxes.
    """

    def __init__(
        self,
        processes: Sequence[GaussianProcess],
        fronts: Iterable[Array],
        *,
        reference: Array,
        feasibility: GaussianProcess | None,
    ) -> None:
        """Take each member's values (n, o) so far; some may dominate others."""
        super().__init__(processes[0].features, feasibility=feasibility)
        self._processes = processes
        self._fronts = [_select_front(values) for values in fronts]
        self._reference = reference
        self._sides = [_sides_of(decompose_nondominated(values, reference)) for values in self._fronts]

    def with_pending(self, points: Points, generator: np.random.Generator) -> LogExpectedHypervolumeImprovement:
        """Return the function after each member has drawn the results of pending trials at points (k, d)."""
        if not len(points):
            return self
        drawn = [process.sample(points, generator) for process in self._processes]
        pairs = zip(self._processes, drawn, strict=True)
        together = np.stack(drawn, axis=2)  # (m, k, o)
        fronts = [np.vstack([old, new]) for old, new in zip(self._fronts, together, strict=True)]
        return LogExpectedHypervolumeImprovement(
            [process.conditioned(points, values) for process, values in pairs],
            fronts,
            reference=self._reference,
            feasibility=self._feasibility,
        )

    def _log_gains(self, points: Points) -> Array:
        found = [process.predict(points) for process in self._processes]
        out = np.empty(found[0].mean.shape)
        for s, sides in enumerate(self._sides):
            of_boxes = sum(side.log_lengths(at.mean[s], at.variance[s]) for side, at in zip(sides, found, strict=True))
            out[s] = np.logaddexp.reduce(of_boxes, axis=1)
        return out

    def _log_gains_with_gradients(self, points: Points) -> tuple[Array, Array]:
        found = [process.predict(points, slopes=True) for process in self._processes]
        out, gradients = np.empty(found[0].mean.shape), np.zeros(found[0].mean_slope.shape)
        for s, sides in enumerate(self._sides):
            lengths = [side.with_slopes(at.mean[s], at.variance[s]) for side, at in zip(sides, found, strict=True)]
            of_boxes = np.sum([each.logs for each in lengths], axis=0)
            out[s] = np.logaddexp.reduce(of_boxes, axis=1)
            shares = np.exp(of_boxes - out[s][:, None])
            for each, at in zip(lengths, found, strict=True):
                gradients[s] += (shares * each.by_mean).sum(axis=1)[:, None] * at.mean_slope[s]
                gradients[s] += (shares * each.by_variance).sum(axis=1)[:, None] * at.variance_slope[s]
        return out, gradients


@dataclass(frozen=True, slots=True)
class _SideGains:
    """The expected gains along one objective, for the sides of c boxes at q points.

    Attributes:
        logs: (q, c) the logarithm of the expected length gained.
        by_mean: (q, c) its derivative by the mean of the prediction.
        by_variance: (q, c) its derivative by the variance of the prediction.
    """

    logs: Array
    by_mean: Array
    by_variance: Array


@dataclass(frozen=True, slots=True)
class _Sides:
    """The sides of c boxes along one objective.

    Attributes:
        levels: the distinct ends of all sides.
        low: (c,) the index of the lower end of each side.
        high: (c,) the index of the upper end of each side.
    """

    levels: Array
    low: Indices
    high: Indices

    def log_lengths(self, mean: Array, variance: Array) -> Array:
        """Return log(E[(u - Y)+] - E[(l - Y)+]) (q, c) for sides from l to u, with Y ~ N(mean, variance)."""
        deviation = np.sqrt(variance)[:, None]
        log_h, _ = log_improvement((self.levels - mean[:, None]) / deviation)
        ends, log_ratio = self._ends(log_h)
        return np.asarray(ends + np.log(-np.expm1(log_ratio)) + np.log(deviation))

    def with_slopes(self, mean: Array, variance: Array) -> _SideGains:
        """Return the same, with derivatives."""
        deviation = np.sqrt(variance)[:, None]
        z = np.maximum((self.levels - mean[:, None]) / deviation, MIN_Z)
        log_h, slope = log_improvement(z)
        ends, log_ratio = self._ends(log_h)
        rest = -np.expm1(log_ratio)
        # The length is a difference: its log-derivative weighs the derivative of each part by the part's share of it.
        of_end, of_begin = 1.0 / rest, np.exp(log_ratio) / rest
        by_mean = -slope / deviation
        by_variance = (1.0 - z * slope) / (2.0 * variance[:, None])
        return _SideGains(
            ends + np.log(rest) + np.log(deviation),
            of_end * by_mean[:, self.high] - of_begin * by_mean[:, self.low],
            of_end * by_variance[:, self.high] - of_begin * by_variance[:, self.low],
        )

    def _ends(self, log_h: Array) -> tuple[Array, Array]:
        """Return log h (q, c) at the upper ends, and the difference to it at the lower ends."""
        ends = log_h[:, self.high]
        return ends, np.minimum(log_h[:, self.low] - ends, -MIN_LOG_WIDTH)


def _sides_of(boxes: BoxDecomposition) -> list[_Sides]:
    """Return the sides of the boxes along each objective, with each distinct level stored once."""
    out = []
    for low, high in zip(boxes.low.T, boxes.high.T, strict=True):
        levels, index = np.unique(np.concatenate([low, high]), return_inverse=True)
        out.append(_Sides(levels, index[: len(low)], index[len(low) :]))
    return out


def _select_front(values: Array) -> Array:
    """Return the front of values (n, o), without its most crowded points where there are too many."""
    values = np.unique(values[front(values)], axis=0)
    n_max = MAX_FRONT_POINTS[values.shape[1]]
    return values[np.argsort(-crowding_distances(values), kind="stable")[:n_max]]
