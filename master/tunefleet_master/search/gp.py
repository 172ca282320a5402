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
from tunefleet_master.search.gaussian_process.hypervolume import (
    LogExpectedHypervolumeImprovement,
    reference_point,
)
from tunefleet_master.search.gaussian_process.kernel import Array
from tunefleet_master.search.gaussian_process.neighbourhood import Box, Neighbourhood
from tunefleet_master.search.gaussian_process.process import GaussianProcess
from tunefleet_master.search.gaussian_process.training_points import select_training_points
from tunefleet_master.search.gaussian_process.trust_region import TrustRegion
from tunefleet_master.search.gaussian_process.warping import warped
from tunefleet_master.search.history import History, Values
from tunefleet_master.search.initial_design import sobol_point
from tunefleet_master.search.observations import (
    FrontObservations,
    Observations,
    collect_front_observations,
    collect_observations,
)
from tunefleet_master.search.pareto import crowded_ranks, front
from tunefleet_master.search.sampler import LearningSampler

N_STARTUP = 8  # results before the first fit
MAX_POINTS = 300  # results that the process is conditioned on
MAX_FITTED = 150  # results that hyperparameters are fitted to
MAX_PENDING = 100  # running trials that are considered: the last proposed ones
MAX_LABELS = 150  # configurations of either label that the feasibility model is fitted to
MAX_MEMBERS = 8
MEMBERS_TIMES_POINTS = 500  # with more points hyperparameters are better known, and each member costs more
N_BEST = 5  # points near which the search starts
MIN_WIDE = 21  # free axes from which on the search uses a trust region
# The second round mostly changes nothing.
FIRST_BUDGET = SearchBudget(spread=1_000, mutations=40, starts=8, rounds=3, iterations=30)
# For all but the first point of a batch, which are proposed one after the other.
BATCH_BUDGET = SearchBudget(spread=200, mutations=10, starts=2, rounds=1, iterations=15)


@dataclass(frozen=True, slots=True)
class _Search:
    """The setting of one search for the next point.

    Attributes:
        acquisition: the acquisition function, conditioned on running trials.
        best: (k, d) the best points so far.
        box: the part of the space to search.
    """

    acquisition: FeasibilityWeightedAcquisition
    best: Points
    box: Box


class GpSampler(LearningSampler):
    """Expected improvement under Gaussian processes (Jones et al. 1998; Snoek et al. 2012).

    Hyperparameters have the priors of Hvarfner et al. 2024 (see `gaussian_process.fit`) and are averaged over a few
    samples of their posterior. Values are warped, so that diverged trials do not flatten the others (see `warped`). The
    logarithm of the expected improvement (Ament et al. 2023) is weighted by the probability that a point is feasible.
    Each member draws joint results of running trials first, so that proposals in flight stay apart. Above 20 free
    parameters the search uses a trust region (Eriksson et al. 2019, see `TrustRegion`). In a long study the process is
    fitted to the best results and a selection of the others, which bounds the cost of a proposal.

    With several objectives each has its own process, and the acquisition function is the expected hypervolume
    improvement (see `LogExpectedHypervolumeImprovement`), without a trust region: a front has no centre.
    """

    name: ClassVar[str] = "gp"

    def __init__(self, space: Space, *, seed: int) -> None:
        super().__init__(space, seed=seed)
        self._neighbourhood = Neighbourhood(self.axes)
        self._is_free = ~self.axes.is_fixed

    def _points(self, position: int, n: int, history: History) -> Iterator[Points]:
        generator = self.generator(position)
        search = self._front_search if history.values.shape[1] > 1 else self._single_objective_search
        setting = search(history, generator)
        if setting is None:
            yield from (sobol_point(self.axes.d, at, seed=self.seed) for at in range(position, position + n))
            return
        acquisition, best, box = setting.acquisition, setting.best, setting.box
        proposed = np.empty((0, self.axes.d))
        for at in range(position, position + n):
            generator = self.generator(at)
            optimizer = AcquisitionOptimizer(acquisition, self._neighbourhood, box=box, generator=generator)
            is_new = partial(self.is_new, history=history, proposed=proposed)
            found = optimizer.best(best, budget=FIRST_BUDGET if at == position else BATCH_BUDGET, is_new=is_new)
            point = generator.random(self.axes.d) if found is None else found
            yield point
            canonical = self._neighbourhood.canonical(point[None])
            proposed = np.vstack([proposed, canonical])
            acquisition = acquisition.with_pending(canonical, generator)

    def _single_objective_search(self, history: History, generator: np.random.Generator) -> _Search | None:
        """Return the search for one objective; None if there are too few results."""
        observed = collect_observations(history)
        region = self._region(observed)
        if self._is_startup(observed, region):
            return None
        acquisition, best = self._fit_acquisition(observed, generator)
        acquisition = acquisition.with_pending(observed.pending[-MAX_PENDING:], generator)
        return _Search(acquisition, best, self._box(observed, region, acquisition.process))

    def _front_search(self, history: History, generator: np.random.Generator) -> _Search | None:
        """Return the search for several objectives; None if there are too few results."""
        observed = collect_front_observations(history)
        n_not_trained = len(observed.infeasible) - int((~observed.is_feasible).sum())
        if not len(observed.values) or len(observed.values) + n_not_trained < N_STARTUP:
            return None
        pending = observed.pending[-MAX_PENDING:]
        acquisition, best = self._fit_front_acquisition(observed, len(pending), generator)
        return _Search(acquisition.with_pending(pending, generator), best, Box.whole(self.axes.d))

    def _fit_front_acquisition(
        self, observed: FrontObservations, n_pending: int, generator: np.random.Generator
    ) -> tuple[LogExpectedHypervolumeImprovement, Points]:
        """Return the acquisition function and the best points so far: feasible ones, if there are any."""
        order = _feasible_first_ranks(observed)
        chosen = select_training_points(order, max_points=MAX_POINTS)
        points, values, is_feasible = observed.points[chosen], observed.values[chosen], observed.is_feasible[chosen]
        candidates = np.flatnonzero(is_feasible) if is_feasible.any() else np.arange(len(chosen))
        front_indices = candidates[front(values[candidates])]
        warped_columns = [warped(column, unwarped_up_to=float(column[front_indices].max())) for column in values.T]
        n_members = MEMBERS_TIMES_POINTS // (len(warped_columns) * (len(points) + n_pending))
        processes = [self._fit_process(points, column, n_members, generator) for column in warped_columns]
        acquisition = LogExpectedHypervolumeImprovement(
            processes,
            # Infeasible points gain nothing: every feasible point beyond the reference is an improvement.
            np.stack([process.posterior(points[is_feasible])[0] for process in processes], axis=2),
            reference=reference_point(np.column_stack(warped_columns)[front_indices]),
            feasibility=self._feasibility(
                observed.points[observed.is_feasible], order[observed.is_feasible], observed.infeasible
            ),
        )
        return acquisition, points[np.argsort(order[chosen], kind="stable")[:N_BEST]]

    def _region(self, observed: Observations) -> TrustRegion | None:
        d = int(self._is_free.sum())
        return TrustRegion.after(observed.scores, d=d, n_startup=N_STARTUP) if d >= MIN_WIDE else None

    def _is_startup(self, observed: Observations, region: TrustRegion | None) -> bool:
        n = len(observed.scores) - (region.since if region else 0)
        return n == 0 or n + len(observed.infeasible) < N_STARTUP

    def _box(self, observed: Observations, region: TrustRegion | None, process: GaussianProcess) -> Box:
        if region is None:
            return Box.whole(self.axes.d)
        centre = observed.points[region.since + int(np.argmin(observed.scores[region.since :]))]
        return region.box(centre, lengthscales=process.lengthscales_of_axes(), is_free=self._is_free)

    def _fit_acquisition(
        self, observed: Observations, generator: np.random.Generator
    ) -> tuple[LogExpectedImprovement, Points]:
        """Return the acquisition function and the best points so far, the best first."""
        chosen = select_training_points(observed.scores, max_points=MAX_POINTS)
        points, values = observed.points[chosen], warped(observed.scores[chosen])
        n_members = MEMBERS_TIMES_POINTS // (len(points) + min(len(observed.pending), MAX_PENDING))
        process = self._fit_process(points, values, n_members, generator)
        means, _ = process.posterior(points)
        best = points[np.argsort(means.mean(axis=0), kind="stable")[:N_BEST]]
        feasibility = self._feasibility(observed.points, observed.scores, observed.infeasible)
        return LogExpectedImprovement(process, means.min(axis=1), feasibility=feasibility), best

    def _fit_process(
        self, points: Points, values: Values, n_members: int, generator: np.random.Generator
    ) -> GaussianProcess:
        members = min(max(n_members, 1), MAX_MEMBERS)
        return GaussianProcess.fit(
            points, values, axes=self.axes, members=members, max_points=MAX_FITTED, generator=generator
        )

    def _feasibility(self, points: Points, scores: Values, infeasible: Points) -> GaussianProcess | None:
        """Return a process of labels, +1 where training succeeded and -1 where not; None if it always succeeded."""
        if not len(infeasible):
            return None
        good, bad = points[select_training_points(scores, max_points=MAX_LABELS)], infeasible[-MAX_LABELS:]
        labels: Array = np.concatenate([np.ones(len(good)), -np.ones(len(bad))])
        return GaussianProcess.fit(np.vstack([good, bad]), labels, axes=self.axes)


def _feasible_first_ranks(observed: FrontObservations) -> Values:
    """Return the rank (n,) of each trial with values; trials that violate a bound come after all others."""
    order = np.empty(len(observed.values))
    order[observed.is_feasible] = crowded_ranks(observed.values[observed.is_feasible])
    order[~observed.is_feasible] = observed.is_feasible.sum() + crowded_ranks(observed.values[~observed.is_feasible])
    return order
