"""The tree-structured Parzen estimator.

Notation:
    good   the best results so far; their density is l
    bad    all other observations and the running trials; their density is g
    l / g  the criterion: a proposal is the best of some candidates drawn from l. Expected improvement grows with it
           (Bergstra et al. 2011).

References:
    Bergstra et al. 2011, https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization.pdf
    Falkner, Klein and Hutter 2018 (multivariate kernels), https://arxiv.org/abs/1807.01774
    Watanabe 2023 (an ablation of all components), https://arxiv.org/abs/2304.11127

Constants are the literature's unless stated. Ours were measured on four tasks of HPOBench, two of HPOLib,
NAS-Bench-201 and BBOB's f8 and f21: geometric mean over tasks of the regret after 60 evaluations, 60 seeds, one at a
time / 8 in flight, with a noise of 4 %. Scott's widths (see `parzen`) gain 8 / 4 % over distances to neighbours,
weights by rank 3 / 7 %, the light prior 8 / 1 %. Other shares and most numbers of good points, more candidates,
decaying weights of old points, more weight on those in flight, and 6 or 15 initial points are within the noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tunefleet.study.space import Space
from tunefleet_master.search.axes import Points
from tunefleet_master.search.history import History
from tunefleet_master.search.initial_design import sobol_point
from tunefleet_master.search.observations import Observations, collect_observations
from tunefleet_master.search.parzen import Array, AxisKinds, Parzen
from tunefleet_master.search.sampler import LearningSampler

N_STARTUP = 10  # results before one of them counts as good
N_CANDIDATES = 24
GOOD_SHARE = 0.1
MAX_GOOD = 25  # in a long study the search narrows down, as in hyperopt and Optuna

# The prior counts as half an observation. As a whole one it would be a seventh of l with six good points, and spend
# that share of few evaluations in unknown regions.
PRIOR_WEIGHT = 0.5

# The most kernels of g: a proposal then costs the same after 1,000 trials and after 100,000. A mixture of every k-th
# observation estimates the same density as that of all: with 60 instead of 175, the regret after 200 evaluations was
# the same.
MAX_BAD = 300


class TpeSampler(LearningSampler):
    """Multivariate TPE over mixed and conditional spaces, for the first objective.

    Only the order of results counts. Running trials count as bad, so that proposals in flight stay apart; so do
    infeasible ones.
    """

    name = "tpe"

    def __init__(self, space: Space, *, seed: int) -> None:
        super().__init__(space, seed=seed)
        self._grain = AxisKinds(self.axes)

    def _points(self, position: int, n: int, history: History) -> Iterator[Points]:
        observed = collect_observations(history)
        is_startup = len(observed.scores) + len(observed.infeasible) < N_STARTUP
        good, bad = split(observed)
        proposed = np.empty((0, self.axes.d))
        for at in range(position, position + n):
            if is_startup:
                point = sobol_point(self.axes.d, at, seed=self.seed)
            else:
                candidates = self._best_first(good, np.vstack([bad, proposed]), self.generator(at))
                new = np.flatnonzero(self.is_new(candidates, history, proposed=proposed))
                point = candidates[new[0] if len(new) else 0]
            proposed = np.vstack([proposed, self.axes.canonical(point[None])])
            yield point

    def _best_first(self, good: Points, bad: Points, generator: np.random.Generator) -> Points:
        """Return candidates (c, d), canonical, the most promising first."""
        good_density = Parzen(self._grain, good, weights=weights_by_rank(len(good)), prior_weight=PRIOR_WEIGHT)
        bad_density = Parzen(self._grain, bad, weights=np.ones(len(bad)), prior_weight=PRIOR_WEIGHT)
        candidates = self.axes.canonical(good_density.draw(generator, N_CANDIDATES))
        gains = good_density.log_density(candidates) - bad_density.log_density(candidates)
        return candidates[np.argsort(-gains, kind="stable")]


def split(observed: Observations) -> tuple[Points, Points]:
    """Split into good points (n, d), the best first, and bad points; infeasible ones are worse than any result."""
    n_known = len(observed.scores) + len(observed.infeasible)
    n_good = min(math.ceil(GOOD_SHARE * n_known), MAX_GOOD, len(observed.scores))
    order = np.argsort(observed.scores, kind="stable")
    worse = np.vstack([observed.points[np.sort(order[n_good:])], observed.infeasible])
    if len(worse) > MAX_BAD:
        worse = worse[np.linspace(0, len(worse) - 1, MAX_BAD).astype(np.int64)]
    return observed.points[order[:n_good]], np.vstack([worse, observed.pending])


def weights_by_rank(n: int) -> Array:
    """Return weights (n,) of good points, the best first, with a mean of 1: log(n + 1) - log(rank).

    The weights of expected improvement, y* - y (Watanabe 2023, section 3.2), need values on one scale. These are the
    rank weights of CMA-ES (Hansen 2016, equation 49); the best of 25 points has a weight of 3.5.
    """
    weights = np.log(n + 1) - np.log(np.arange(1, n + 1))
    return np.asarray(weights / weights.mean()) if n else weights
