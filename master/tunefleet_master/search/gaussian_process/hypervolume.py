"""How much a point is worth trying where there are several objectives.

Notation, beside that of `process` and `cells`:
    o   objectives, each with a process of its own; member s of all of them together is one guess of the whole
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tunefleet_master.search.axes import Points
from tunefleet_master.search.gaussian_process.acquisition import (
    FARTHEST,
    FeasibilityWeightedAcquisition,
    log_improvement,
)
from tunefleet_master.search.gaussian_process.box_decomposition import BoxDecomposition, cells_beyond
from tunefleet_master.search.gaussian_process.kernel import Array, Indices
from tunefleet_master.search.gaussian_process.process import GaussianProcess
from tunefleet_master.search.pareto import crowding_distances, front

MARGIN = 0.1  # of a front's range, by which the reference lies behind its worst values (Ishibuchi et al. 2011)
NO_RANGE = 1.0  # that of a front of one value: a standard deviation of all values
MAX_STEPS = {2: 100, 3: 30, 4: 12}  # points of a front by objectives: with these there are at most 300 cells
THINNEST = 1e-15  # of a cell's share of what lies below it; a thinner one has no digits left


def reference_of(values: Array) -> Array:
    """(o,): what counts as nothing gained, somewhat worse than the worst values of a front (n, o)."""
    worst = values.max(axis=0)
    reach = worst - values.min(axis=0)
    return np.asarray(worst + np.where(reach > 0, MARGIN * reach, NO_RANGE))


class HypervolumeGain(FeasibilityWeightedAcquisition):
    """The logarithm of the hypervolume that a point is expected to add to the front, over all members.

    Ament et al. 2023 (https://arxiv.org/abs/2310.20708), section 4.2, with the noise and the pending trials of Daulton
    et al. 2021 (https://arxiv.org/abs/2105.08195): the front is that of the function and not of noisy observations,
    and each member has drawn one joint sample of what running trials will bring. Both papers sample the function
    everywhere and propose batches at once; here a batch is built one point after the other, for which independent
    objectives have the expectation in closed form. The front is that of the members' means, as `Acquisition` has it.
    Of a front with more than `MAX_STEPS` points those that are least alone are left out, so that cells stay few.
    """

    def __init__(
        self,
        processes: Sequence[GaussianProcess],
        fronts: Iterable[Array],
        *,
        reference: Array,
        feasibility: GaussianProcess | None,
    ) -> None:
        """Beyond each member's values (n, o), of which some may dominate others."""
        super().__init__(processes[0].features, feasibility=feasibility)
        self._processes = processes
        self._fronts = [_thinned(values) for values in fronts]
        self._reference = reference
        self._sides = [_sides_of(cells_beyond(values, reference)) for values in self._fronts]

    def with_pending(self, points: Points, generator: np.random.Generator) -> HypervolumeGain:
        """After each member has drawn what trials at points (k, d) will bring."""
        if not len(points):
            return self
        drawn = [process.sample(points, generator) for process in self._processes]
        pairs = zip(self._processes, drawn, strict=True)
        together = np.stack(drawn, axis=2)  # (m, k, o)
        fronts = [np.vstack([old, new]) for old, new in zip(self._fronts, together, strict=True)]
        return HypervolumeGain(
            [process.conditioned(points, values) for process, values in pairs],
            fronts,
            reference=self._reference,
            feasibility=self._feasibility,
        )

    def _log_gains(self, points: Points) -> Array:
        found = [process.predict(points) for process in self._processes]
        out = np.empty(found[0].mean.shape)
        for s, sides in enumerate(self._sides):
            of_cells = sum(side.log_lengths(at.mean[s], at.variance[s]) for side, at in zip(sides, found, strict=True))
            out[s] = np.logaddexp.reduce(of_cells, axis=1)
        return out

    def _log_gains_with_gradients(self, points: Points) -> tuple[Array, Array]:
        found = [process.predict(points, slopes=True) for process in self._processes]
        out, gradients = np.empty(found[0].mean.shape), np.zeros(found[0].mean_slope.shape)
        for s, sides in enumerate(self._sides):
            lengths = [side.with_slopes(at.mean[s], at.variance[s]) for side, at in zip(sides, found, strict=True)]
            of_cells = np.sum([each.logs for each in lengths], axis=0)
            out[s] = np.logaddexp.reduce(of_cells, axis=1)
            shares = np.exp(of_cells - out[s][:, None])
            for each, at in zip(lengths, found, strict=True):
                gradients[s] += (shares * each.by_mean).sum(axis=1)[:, None] * at.mean_slope[s]
                gradients[s] += (shares * each.by_variance).sum(axis=1)[:, None] * at.variance_slope[s]
        return out, gradients


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Of the sides of c cells along one objective, at q points.

    Attributes:
        logs: (q, c) the logarithm of how much of the side is expected to be gained.
        by_mean: (q, c) its derivative by the prediction's mean.
        by_variance: (q, c) and by its variance.
    """

    logs: Array
    by_mean: Array
    by_variance: Array


@dataclass(frozen=True, slots=True)
class _Sides:
    """The sides of c cells along one objective.

    Attributes:
        levels: where sides begin and end, each once.
        low: (c,) the index of where each begins.
        high: (c,) and ends.
    """

    levels: Array
    low: Indices
    high: Indices

    def log_lengths(self, mean: Array, variance: Array) -> Array:
        """(q, c): of a side from l to u, the logarithm of E[(u - Y)+] - E[(l - Y)+], Y ~ N(mean, variance)."""
        deviation = np.sqrt(variance)[:, None]
        log_h, _ = log_improvement((self.levels - mean[:, None]) / deviation)
        ends, shrunk = self._ends(log_h)
        return np.asarray(ends + np.log(-np.expm1(shrunk)) + np.log(deviation))

    def with_slopes(self, mean: Array, variance: Array) -> _Lengths:
        """The same, with derivatives."""
        deviation = np.sqrt(variance)[:, None]
        z = np.maximum((self.levels - mean[:, None]) / deviation, FARTHEST)
        log_h, slope = log_improvement(z)
        ends, shrunk = self._ends(log_h)
        rest = -np.expm1(shrunk)
        # The length is a difference; its logarithm's derivative has that of each part, times the part's share of it.
        of_end, of_begin = 1.0 / rest, np.exp(shrunk) / rest
        by_mean = -slope / deviation
        by_variance = (1.0 - z * slope) / (2.0 * variance[:, None])
        return _Lengths(
            ends + np.log(rest) + np.log(deviation),
            of_end * by_mean[:, self.high] - of_begin * by_mean[:, self.low],
            of_end * by_variance[:, self.high] - of_begin * by_variance[:, self.low],
        )

    def _ends(self, log_h: Array) -> tuple[Array, Array]:
        """(q, c): log h at the ends, and by how much it is less where the sides begin."""
        ends = log_h[:, self.high]
        return ends, np.minimum(log_h[:, self.low] - ends, -THINNEST)


def _sides_of(boxes: BoxDecomposition) -> list[_Sides]:
    """The sides of the cells along each objective; the same levels come again and again, and are worked out once."""
    out = []
    for low, high in zip(boxes.low.T, boxes.high.T, strict=True):
        levels, index = np.unique(np.concatenate([low, high]), return_inverse=True)
        out.append(_Sides(levels, index[: len(low)], index[len(low) :]))
    return out


def _thinned(values: Array) -> Array:
    """The front of values (n, o), without those that are least alone where there are too many."""
    values = np.unique(values[front(values)], axis=0)
    most = MAX_STEPS[values.shape[1]]
    return values[np.argsort(-crowding_distances(values), kind="stable")[:most]]
