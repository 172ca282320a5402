"""Bayesian optimisation with a random forest as the surrogate model, as in SMAC.

References:
    Hutter, Hoos and Leyton-Brown 2011, Sequential model-based optimization for general algorithm configuration,
    https://doi.org/10.1007/978-3-642-25566-3_40
    Lindauer et al. 2022, SMAC3, https://jmlr.org/papers/v23/21-0888.html
    Hutter, Xu, Hoos and Leyton-Brown 2014, Algorithm runtime prediction, https://doi.org/10.1016/j.artint.2013.10.003

Notation, in addition to that of `axes`:
    n   trials that the forest is fitted to
    s   neighbours of a point in the local search
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tunefleet.study.space import Space
from tunefleet_master.search.axes import Axes, Points
from tunefleet_master.search.history import History, Indices, Values
from tunefleet_master.search.initial_design import sobol_point
from tunefleet_master.search.observations import Observations, collect_observations
from tunefleet_master.search.ranks import normal_quantiles
from tunefleet_master.search.sampler import LearningSampler
from tunefleet_master.search.trees import ChoiceOrder, Inputs, Tree

N_STARTUP = 10  # results before a forest is fitted; with fewer, it only repeats the points
RANDOM_SHARE = 0.2  # of proposals come from the initial design, so that every region is visited again: SMAC3's value
MAX_TRAINING = 1_000  # trials that a forest is fitted to: it bounds the cost of a proposal

N_TREES = 10
FEATURE_SHARE = 5 / 6  # more diverse trees, since not all can cut the same axis first; this and N_TREES are SMAC3's
MIN_VARIANCE = 1e-6  # of scores with variance of about 1: where all trees agree, the mean decides

N_POOL = 500  # random points, from which local searches start
N_STARTS = 10  # local searches from the best trials, and as many from the best of the pool: SMAC3's number
MAX_STEPS = 15  # of a local search; most end after five
NEIGHBOURS, STEP = 4, 0.2  # of a number, and their standard deviation as a share of its range: SMAC's
MAX_OFFSETS = 32  # neighbours of a choice: all of its values, unless it has hundreds
MAX_AROUND = 2_000  # neighbours of all local searches in a step: with hundreds of parameters there are fewer searches
CHUNK = 64  # candidates checked together for being new

ABSENT = -1.0  # the input of an inactive parameter, outside of [0, 1], so that one cut separates it

Gain = Callable[[Points], Values]


class ForestSampler(LearningSampler):
    """Expected improvement on a random forest, maximised by local search; one proposal in five is space-filling.

    It takes any space, with choices, conditions and constraints. On smooth objectives of real parameters `gp` is
    better, since a forest is piecewise constant.

    Departures from SMAC: scores are normal quantiles of ranks instead of logarithms of costs, so that outliers and the
    objective's scale do not matter. Space-filling proposals come from one Sobol sequence instead of independent draws.
    Each configuration runs once, since a study's budget counts trials. Running trials count as if they had ended with
    the mean score, so that concurrent proposals differ (the constant liar of Ginsbourger et al. 2010,
    https://doi.org/10.1007/978-3-642-10701-6_6; the forest's prediction or the worst score were equally good).
    """

    name = "forest"

    def __init__(self, space: Space, *, seed: int) -> None:
        super().__init__(space, seed=seed)
        self._neighbourhood = Neighbourhood(self.axes)
        self._n_starts = min(N_STARTS, 1 + MAX_AROUND // (2 * max(1, self._neighbourhood.size)))

    def _points(self, position: int, n: int, history: History) -> Points:
        observed = collect_observations(history)
        data = _training_data(observed)
        proposed = np.empty((0, self.axes.d))
        for at in range(position, position + n):
            generator = self.generator(at)
            is_startup = len(data.scores) < N_STARTUP or not self._neighbourhood.size
            if is_startup or generator.random() < RANDOM_SHARE:
                point = sobol_point(self.axes.d, at, seed=self.seed)
            else:
                gain = self._gain(data, np.vstack([observed.pending, proposed]), generator)
                candidates = self._rank_candidates(gain, data.points[: self._n_starts], generator)
                point = candidates[self._first_new(candidates, history, proposed)]
            new_point = self._find_new_point(point, at, history, proposed)
            proposed = np.vstack([proposed, point if new_point is None else new_point])
        return proposed

    def _gain(self, data: TrainingData, pending: Points, generator: np.random.Generator) -> Gain:
        """Return the logarithm of the expected improvement, as a function of canonical points."""
        lies = np.full(len(pending), data.scores.mean())
        with_pending = TrainingData(np.vstack([data.points, pending]), np.append(data.scores, lies))
        forest = Forest(self.axes, with_pending, generator=generator)
        best = data.scores[0]
        return lambda points: log_expected_improvement(*forest.predict(points), best=best)

    def _rank_candidates(self, gain: Gain, starts: Points, generator: np.random.Generator) -> Points:
        """Return every point (n, d) that was evaluated, canonical, the one with the greatest gain first."""
        pool = generator.random((N_POOL, self.axes.d))
        # A parameter that is inactive at a start may become active in the search; it then begins at a random value.
        filled = np.where(np.isnan(starts), generator.random(starts.shape), starts)
        seen = [self.axes.canonical(pool), starts]
        gains = [gain(points) for points in seen]
        chosen = np.argsort(-gains[0], kind="stable")[: self._n_starts]
        at, current = np.vstack([filled, pool[chosen]]), np.append(gains[1], gains[0][chosen])
        for _ in range(MAX_STEPS):
            neighbours = self._neighbourhood.neighbours(at, generator)
            seen.append(self.axes.canonical(neighbours.reshape(-1, self.axes.d)))
            gains.append(gain(seen[-1]))
            neighbour_gains = gains[-1].reshape(neighbours.shape[:2])
            step = neighbour_gains.argmax(axis=1)
            improved = np.flatnonzero(neighbour_gains.max(axis=1) > current)
            at, current = neighbours[improved, step[improved]], neighbour_gains[improved, step[improved]]
            if not len(at):
                break
        points, values = np.vstack(seen), np.concatenate(gains)
        # A forest is piecewise constant: break ties at random instead of by order of evaluation.
        return np.asarray(points[np.lexsort((generator.random(len(values)), -values))])

    def _first_new(self, candidates: Points, history: History, proposed: Points) -> int:
        """Return the index of the first candidate that is new; 0 if none is."""
        for start in range(0, len(candidates), CHUNK):
            new = np.flatnonzero(self.is_new(candidates[start : start + CHUNK], history, proposed=proposed))
            if len(new):
                return start + int(new[0])
        return 0


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The data that a forest is fitted to.

    Attributes:
        points: (n, d) canonical; observed ones first, the best first.
        scores: (n,) normal quantiles of their ranks; lower is better.
    """

    points: Points
    scores: Values


def _training_data(observed: Observations) -> TrainingData:
    """Rank all trials, with infeasible ones as bad as the worst, and keep at most MAX_LESSONS of them."""
    order = np.argsort(observed.scores, kind="stable")
    scores = normal_quantiles(observed.scores)[order]
    worst = scores[-1:].repeat(len(observed.infeasible))
    points = np.vstack([observed.points[order], observed.infeasible[: len(worst)]])
    selected = _select(len(points))
    return TrainingData(points[selected], np.append(scores, worst)[selected])


def _select(n: int) -> Indices:
    """Return indices of n trials, the best first: the better half of MAX_LESSONS, then every k-th of the others."""
    if n <= MAX_TRAINING:
        return np.arange(n)
    half = MAX_TRAINING // 2
    return np.concatenate([np.arange(half), np.linspace(half, n - 1, half).astype(np.int64)])


class Forest:
    """A random forest: the mean and variance of the score anywhere in the space."""

    def __init__(self, axes: Axes, data: TrainingData, *, generator: np.random.Generator) -> None:
        self._order = ChoiceOrder.of(axes, data.points, scores=data.scores)
        inputs = self._inputs(data.points)
        self._trees = [
            Tree(
                inputs,
                data.scores,
                # Random cuts, as in SMAC3: trees that cut at the same places would agree between the trials, where
                # nothing is known.
                cuts="random",
                min_leaf=1,
                feature_share=FEATURE_SHARE,
                generator=generator,
            )
            for _ in range(N_TREES)
        ]

    def predict(self, points: Points) -> tuple[Values, Values]:
        """Return the mean and the variance, each (n,), at canonical points (n, d).

        The variance is that within the leaves plus that between the trees (law of total variance; Hutter et al. 2014,
        section 4.3).
        """
        inputs = self._inputs(points)
        found = [tree.predict(inputs) for tree in self._trees]
        means, variances = np.array([mean for mean, _ in found]), np.array([variance for _, variance in found])
        total = variances.mean(axis=0) + means.var(axis=0)
        return means.mean(axis=0), np.maximum(total, MIN_VARIANCE)

    def _inputs(self, points: Points) -> Inputs:
        return np.nan_to_num(self._order.encode(points), nan=ABSENT).astype(np.float32)


def log_expected_improvement(mean: Values, variance: Values, *, best: float) -> Values:
    """Return the logarithm of E[max(best - y, 0)] for y ~ N(mean, variance), each (n,).

    The logarithm still distinguishes points with next to no chance (Ament et al. 2023,
    https://arxiv.org/abs/2310.20708).
    """
    from scipy.special import ndtr

    deviation = np.sqrt(variance)
    z = (best - mean) / deviation
    near = np.maximum(z, -5.0)
    log_near = np.log(np.exp(-0.5 * near**2) / np.sqrt(2 * np.pi) + near * ndtr(near))
    # For small z the two terms cancel; their difference is phi(z) (1 - 3 / z^2) / z^2 up to terms in z^-6.
    far = np.minimum(z, -5.0)
    log_far = -0.5 * far**2 - 0.5 * np.log(2 * np.pi) + np.log1p(-3 / far**2) - 2 * np.log(-far)
    return np.asarray(np.log(deviation) + np.where(z > -5.0, log_near, log_far))


class Neighbourhood:
    """The one-exchange neighbourhood (Hutter et al. 2011): points that differ in one coordinate.

    A choice takes each of its other values; a number takes several Gaussian steps.

    Attributes:
        size: the number of neighbours of a point.
    """

    def __init__(self, axes: Axes) -> None:
        moves = [(j, offset) for j in range(axes.d) if not axes.is_fixed[j] for offset in _offsets(axes, j)]
        self.size = len(moves)
        self._axis = np.array([j for j, _ in moves], dtype=np.int64)
        self._offset = np.array([offset for _, offset in moves], dtype=np.int64)
        self._n_levels = np.maximum(axes.n_levels, 1)[self._axis]

    def neighbours(self, points: Points, generator: np.random.Generator) -> Points:
        """Return the neighbours (n, size, d), not rounded, of points (n, d) without NaN."""
        moves = np.arange(self.size)
        neighbours = np.repeat(points[:, None], self.size, axis=1)
        old = neighbours[:, moves, self._axis]
        moved = np.abs(old + STEP * generator.standard_normal(old.shape))
        moved = np.clip(1 - np.abs(1 - moved), 0.0, 1.0)  # reflected at both ends of the range
        level = np.minimum(np.floor(old * self._n_levels), self._n_levels - 1)
        other_level = ((level + self._offset) % self._n_levels + 0.5) / self._n_levels
        neighbours[:, moves, self._axis] = np.where(self._offset > 0, other_level, moved)
        return neighbours


def _offsets(axes: Axes, j: int) -> list[int]:
    """Return one entry per neighbour on an axis: the offset to another value of a choice, 0 for a step of a number."""
    n_others = int(axes.n_levels[j]) - 1
    if not axes.is_choice[j]:
        return [0] * NEIGHBOURS
    return [int(offset) for offset in np.linspace(1, n_others, min(n_others, MAX_OFFSETS))]
