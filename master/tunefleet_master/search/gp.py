"""Bayesian optimisation with Gaussian processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from tunefleet.study.space import Space
from tunefleet_master.search.axes import Points
from tunefleet_master.search.gaussian_process.acquisition import (
    FeasibilityWeightedAcquisition,
    LogExpectedImprovement,
)
from tunefleet_master.search.gaussian_process.acquisition_optimizer import AcquisitionOptimizer, SearchBudget
from tunefleet_master.search.gaussian_process.hypervolume import HypervolumeGain, reference_of
from tunefleet_master.search.gaussian_process.kernel import Array
from tunefleet_master.search.gaussian_process.neighbourhood import Box, Neighbourhood
from tunefleet_master.search.gaussian_process.process import GaussianProcess
from tunefleet_master.search.gaussian_process.region import TrustRegion
from tunefleet_master.search.gaussian_process.training_points import select_training_points
from tunefleet_master.search.gaussian_process.warping import warped
from tunefleet_master.search.history import History, Values
from tunefleet_master.search.initial_design import covering_point
from tunefleet_master.search.observations import FrontObservations, Observations, evidence, front_evidence
from tunefleet_master.search.pareto import front, places
from tunefleet_master.search.sampler import LearningSampler

N_STARTUP = 8  # results before the first fit
MAX_POINTS = 300  # results that the process is made of
MAX_FITTED = 150  # of which hyperparameters are fitted to so many
MAX_PENDING = 100  # running trials that are taken into account: the last that were proposed
MAX_LABELS = 150  # configurations of either kind from which is learnt which ones can be trained
MAX_MEMBERS = 8
MEMBERS_TIMES_POINTS = 500  # with more points hyperparameters are better known, and each member costs more
N_BEST = 5  # points near which a search begins
MIN_WIDE = 21  # free axes from which on the search keeps to a trust region
# Mostly the second round changes nothing any more.
ALONE = SearchBudget(spread=1_000, mutations=40, starts=8, rounds=3, iterations=30)
# For all but the first of a batch, which wait for one another.
TOGETHER = SearchBudget(spread=200, mutations=10, starts=2, rounds=1, iterations=15)


@dataclass(frozen=True, slots=True)
class _Search:
    """Where to look for what.

    Attributes:
        gain: what is expected of a point, running trials included.
        best: (k, d) the best points so far.
        box: the part of the space.
    """

    gain: FeasibilityWeightedAcquisition
    best: Points
    box: Box


class GpSampler(LearningSampler):
    """Expected improvement under Gaussian processes (Jones et al. 1998; Snoek et al. 2012).

    Hyperparameters have the priors of Hvarfner et al. 2024 (see `gaussian_process.fit`), and a few sets of them that
    the values allow are averaged over; values are warped so that what diverges flattens nothing (see `warped`). The
    logarithm of the expected improvement (Ament et al. 2023) is multiplied with the probability that a point can be
    trained at all. Of running trials each set draws joint results first, so that proposals in flight keep their
    distance. Above 20 free parameters it keeps to a trust region (Eriksson et al. 2019, see `TrustRegion`). Of a long
    study the process is made of the best results and of others of all ranks, so that a proposal's cost is bounded.

    With several objectives each has a process of its own, and what is expected is an improvement of the front's
    hypervolume (see `HypervolumeGain`). There is no trust region then: a front has no centre.
    """

    name: ClassVar[str] = "gp"
    takes_several: ClassVar[bool] = True

    def __init__(self, space: Space, *, seed: int) -> None:
        super().__init__(space, seed=seed)
        self._neighbourhood = Neighbourhood(self.axes)
        self._is_free = ~self.axes.is_fixed

    def _points(self, position: int, n: int, history: History) -> Iterator[Points]:
        generator = self.generator(position)
        search = self._of_fronts if history.values.shape[1] > 1 else self._of_scores
        begun = search(history, generator)
        if begun is None:
            yield from (covering_point(self.axes.d, at, seed=self.seed) for at in range(position, position + n))
            return
        acquisition, best, box = begun.gain, begun.best, begun.box
        proposed = np.empty((0, self.axes.d))
        for at in range(position, position + n):
            generator = self.generator(at)
            optimizer = AcquisitionOptimizer(acquisition, self._neighbourhood, box=box, generator=generator)
            is_new = partial(self.is_new, history=history, proposed=proposed)
            found = optimizer.best(best, budget=ALONE if at == position else TOGETHER, is_new=is_new)
            point = generator.random(self.axes.d) if found is None else found
            yield point
            canonical = self._neighbourhood.canonical(point[None])
            proposed = np.vstack([proposed, canonical])
            acquisition = acquisition.with_pending(canonical, generator)

    def _of_scores(self, history: History, generator: np.random.Generator) -> _Search | None:
        """Of one objective; None where too little is known."""
        known = evidence(history)
        region = self._region(known)
        if self._begins(known, region):
            return None
        acquisition, best = self._learnt(known, generator)
        acquisition = acquisition.with_pending(known.pending[-MAX_PENDING:], generator)
        return _Search(acquisition, best, self._box(known, region, acquisition.process))

    def _of_fronts(self, history: History, generator: np.random.Generator) -> _Search | None:
        """Of several objectives."""
        known = front_evidence(history)
        n_untrained = len(known.infeasible) - int((~known.is_feasible).sum())
        if not len(known.values) or len(known.values) + n_untrained < N_STARTUP:
            return None
        pending = known.pending[-MAX_PENDING:]
        gain, best = self._learnt_front(known, len(pending), generator)
        return _Search(gain.with_pending(pending, generator), best, Box.whole(self.axes.d))

    def _learnt_front(
        self, known: FrontObservations, n_pending: int, generator: np.random.Generator
    ) -> tuple[HypervolumeGain, Points]:
        """What is expected of any point, and the best of the feasible points so far, or of all where none is."""
        order = _in_order(known)
        chosen = select_training_points(order, most=MAX_POINTS)
        points, values, is_feasible = known.points[chosen], known.values[chosen], known.is_feasible[chosen]
        candidates = np.flatnonzero(is_feasible) if is_feasible.any() else np.arange(len(chosen))
        steps = candidates[front(values[candidates])]
        smooth = [warped(column, whole_up_to=float(column[steps].max())) for column in values.T]
        n_members = MEMBERS_TIMES_POINTS // (len(smooth) * (len(points) + n_pending))
        processes = [self._fitted(points, column, n_members, generator) for column in smooth]
        gain = HypervolumeGain(
            processes,
            # What is infeasible gains nothing, so that every feasible point beyond the reference is a gain.
            np.stack([process.posterior(points[is_feasible])[0] for process in processes], axis=2),
            reference=reference_of(np.column_stack(smooth)[steps]),
            feasibility=self._feasibility(known.points[known.is_feasible], order[known.is_feasible], known.infeasible),
        )
        return gain, points[np.argsort(order[chosen], kind="stable")[:N_BEST]]

    def _region(self, known: Observations) -> TrustRegion | None:
        d = int(self._is_free.sum())
        return TrustRegion.after(known.scores, d=d, n_startup=N_STARTUP) if d >= MIN_WIDE else None

    def _begins(self, known: Observations, region: TrustRegion | None) -> bool:
        n = len(known.scores) - (region.since if region else 0)
        return n == 0 or n + len(known.infeasible) < N_STARTUP

    def _box(self, known: Observations, region: TrustRegion | None, process: GaussianProcess) -> Box:
        if region is None:
            return Box.whole(self.axes.d)
        centre = known.points[region.since + int(np.argmin(known.scores[region.since :]))]
        return region.box(centre, lengthscales=process.lengthscales_of_axes(), is_free=self._is_free)

    def _learnt(self, known: Observations, generator: np.random.Generator) -> tuple[LogExpectedImprovement, Points]:
        """What is expected of any point, and the best points so far, the best first."""
        chosen = select_training_points(known.scores, most=MAX_POINTS)
        points, values = known.points[chosen], warped(known.scores[chosen])
        n_members = MEMBERS_TIMES_POINTS // (len(points) + min(len(known.pending), MAX_PENDING))
        process = self._fitted(points, values, n_members, generator)
        means, _ = process.posterior(points)
        best = points[np.argsort(means.mean(axis=0), kind="stable")[:N_BEST]]
        feasibility = self._feasibility(known.points, known.scores, known.infeasible)
        return LogExpectedImprovement(process, means.min(axis=1), feasibility=feasibility), best

    def _fitted(
        self, points: Points, values: Values, n_members: int, generator: np.random.Generator
    ) -> GaussianProcess:
        members = min(max(n_members, 1), MAX_MEMBERS)
        return GaussianProcess.fit(
            points, values, axes=self.axes, members=members, most=MAX_FITTED, generator=generator
        )

    def _feasibility(self, points: Points, scores: Values, infeasible: Points) -> GaussianProcess | None:
        """A process of +1 where training was possible and -1 where it was not; None where it always was."""
        if not len(infeasible):
            return None
        good, bad = points[select_training_points(scores, most=MAX_LABELS)], infeasible[-MAX_LABELS:]
        labels: Array = np.concatenate([np.ones(len(good)), -np.ones(len(bad))])
        return GaussianProcess.fit(np.vstack([good, bad]), labels, axes=self.axes)


def _in_order(known: FrontObservations) -> Values:
    """(n,): the place of each trial with values; those that break a bound come after all others."""
    order = np.empty(len(known.values))
    order[known.is_feasible] = places(known.values[known.is_feasible])
    order[~known.is_feasible] = known.is_feasible.sum() + places(known.values[~known.is_feasible])
    return order
