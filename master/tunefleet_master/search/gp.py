"""Bayesian optimisation with Gaussian processes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import numpy as np

from tunefleet.space import Space
from tunefleet_master.search.axes import Points
from tunefleet_master.search.cover import covering_point
from tunefleet_master.search.evidence import Evidence, evidence
from tunefleet_master.search.gaussian_process.acquisition import Acquisition
from tunefleet_master.search.gaussian_process.climb import Climb, Effort
from tunefleet_master.search.gaussian_process.kernel import Array
from tunefleet_master.search.gaussian_process.moves import Box, Moves
from tunefleet_master.search.gaussian_process.process import GaussianProcess
from tunefleet_master.search.gaussian_process.region import TrustRegion
from tunefleet_master.search.gaussian_process.subset import kept
from tunefleet_master.search.gaussian_process.warping import warped
from tunefleet_master.search.history import History
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
ALONE = Effort(spread=1_000, mutations=40, starts=8)
TOGETHER = Effort(spread=200, mutations=10, starts=2)  # for all but the first of a batch


class GpSampler(LearningSampler):
    """Expected improvement under Gaussian processes (Jones et al. 1998; Snoek et al. 2012)."""

    name: ClassVar[str] = "gp"

    def __init__(self, space: Space, *, seed: int) -> None:
        super().__init__(space, seed=seed)
        self._moves = Moves(self.axes)
        self._is_free = ~self.axes.is_fixed

    def _points(self, position: int, n: int, history: History) -> Iterator[Points]:
        known = evidence(history)
        region = self._region(known)
        if self._begins(known, region):
            yield from (covering_point(self.axes.d, at, seed=self.seed) for at in range(position, position + n))
            return
        generator = self.generator(position)
        acquisition, best = self._learnt(known, generator)
        acquisition = acquisition.with_pending(known.pending[-MAX_PENDING:], generator)
        box = self._box(known, region, acquisition.process)
        proposed = np.empty((0, self.axes.d))
        for at in range(position, position + n):
            generator = self.generator(at)
            climb = Climb(acquisition, self._moves, box=box, generator=generator)
            is_new = partial(self.is_new, history=history, proposed=proposed)
            found = climb.best(best, effort=ALONE if at == position else TOGETHER, is_new=is_new)
            point = generator.random(self.axes.d) if found is None else found
            yield point
            canonical = self._moves.canonical(point[None])
            proposed = np.vstack([proposed, canonical])
            acquisition = acquisition.with_pending(canonical, generator)

    def _region(self, known: Evidence) -> TrustRegion | None:
        d = int(self._is_free.sum())
        return TrustRegion.after(known.scores, d=d, n_startup=N_STARTUP) if d >= MIN_WIDE else None

    def _begins(self, known: Evidence, region: TrustRegion | None) -> bool:
        n = len(known.scores) - (region.since if region else 0)
        return n == 0 or n + len(known.infeasible) < N_STARTUP

    def _box(self, known: Evidence, region: TrustRegion | None, process: GaussianProcess) -> Box:
        if region is None:
            return Box.whole(self.axes.d)
        centre = known.points[region.since + int(np.argmin(known.scores[region.since :]))]
        return region.box(centre, lengthscales=process.lengthscales_of_axes(), is_free=self._is_free)

    def _learnt(self, known: Evidence, generator: np.random.Generator) -> tuple[Acquisition, Points]:
        """What is expected of any point, and the best points so far, the best first."""
        chosen = kept(known.scores, most=MAX_POINTS)
        points, values = known.points[chosen], warped(known.scores[chosen])
        n_members = MEMBERS_TIMES_POINTS // (len(points) + min(len(known.pending), MAX_PENDING))
        process = GaussianProcess.fit(
            points,
            values,
            axes=self.axes,
            members=min(max(n_members, 1), MAX_MEMBERS),
            most=MAX_FITTED,
            generator=generator,
        )
        means, _ = process.posterior(points)
        best = points[np.argsort(means.mean(axis=0), kind="stable")[:N_BEST]]
        return Acquisition(process, means.min(axis=1), feasibility=self._feasibility(known)), best

    def _feasibility(self, known: Evidence) -> GaussianProcess | None:
        """A process of +1 where training was possible and -1 where it was not; None where it always was."""
        if not len(known.infeasible):
            return None
        good, bad = known.points[kept(known.scores, most=MAX_LABELS)], known.infeasible[-MAX_LABELS:]
        labels: Array = np.concatenate([np.ones(len(good)), -np.ones(len(bad))])
        return GaussianProcess.fit(np.vstack([good, bad]), labels, axes=self.axes)
