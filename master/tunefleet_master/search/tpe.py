"""The tree-structured Parzen estimator."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tunefleet.space import Space
from tunefleet_master.search.axes import Points
from tunefleet_master.search.cover import covering_point
from tunefleet_master.search.evidence import Evidence, evidence
from tunefleet_master.search.history import History
from tunefleet_master.search.parzen import Array, Grain, Parzen
from tunefleet_master.search.sampler import LearningSampler

N_STARTUP = 10
GOOD_SHARE = 0.1
MOST_GOOD = 25
MOST_BAD = 1_000
N_CANDIDATES = 24
PRIOR_WEIGHT = 1.0
N_FRESH = 25


class TpeSampler(LearningSampler):
    """Multivariate TPE (Bergstra et al. 2011; Falkner, Klein and Hutter 2018; Watanabe 2023, arXiv:2304.11127)."""

    name = "tpe"

    def __init__(self, space: Space, *, seed: int) -> None:
        super().__init__(space, seed=seed)
        self._grain = Grain(self.axes)

    def _points(self, position: int, n: int, history: History) -> Iterator[Points]:
        known = evidence(history)
        n_known = len(known.scores) + len(known.infeasible)
        good, bad = split(known)
        proposed = np.empty((0, self.axes.d))
        for at in range(position, position + n):
            if n_known < N_STARTUP:
                point = covering_point(self.axes.d, at, seed=self.seed)
            else:
                candidates = self._best_first(good, np.vstack([bad, proposed]), self.generator(at))
                new = np.flatnonzero(self.is_new(candidates, history, proposed=proposed))
                point = candidates[new[0] if len(new) else 0]
            proposed = np.vstack([proposed, self.axes.canonical(point[None])])
            yield point

    def _best_first(self, good: Points, bad: Points, generator: np.random.Generator) -> Points:
        """Candidates (c, d), canonical, the most promising first."""
        bad = bad[-MOST_BAD:]
        likely = Parzen(self._grain, good, weights=_by_rank(len(good)), prior_weight=PRIOR_WEIGHT)
        unlikely = Parzen(self._grain, bad, weights=_by_age(len(bad)), prior_weight=PRIOR_WEIGHT)
        candidates = self.axes.canonical(likely.draw(generator, N_CANDIDATES))
        gains = likely.log_density(candidates) - unlikely.log_density(candidates)
        return candidates[np.argsort(-gains, kind="stable")]


def split(known: Evidence) -> tuple[Points, Points]:
    """The good points, the best first, and all others, the oldest first; infeasible ones are worse than any result."""
    n_known = len(known.scores) + len(known.infeasible)
    n_good = min(math.ceil(GOOD_SHARE * n_known), MOST_GOOD, len(known.scores))
    order = np.argsort(known.scores, kind="stable")
    bad = known.points[np.sort(order[n_good:])]
    return known.points[order[:n_good]], np.vstack([bad, known.infeasible, known.pending])


def _by_rank(n: int) -> Array:
    weights = np.log(n + 1) - np.log(np.arange(1, n + 1))
    return np.asarray(weights / weights.mean()) if n else weights


def _by_age(n: int) -> Array:
    n_fresh = min(n, N_FRESH)
    return np.concatenate([np.linspace(1 / max(n, 1), 1, n - n_fresh), np.ones(n_fresh)])
