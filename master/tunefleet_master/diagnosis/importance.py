"""The importance of parameters: functional ANOVA on a random forest.

Reference:
    Hutter, Hoos and Leyton-Brown 2014, An efficient approach for assessing hyperparameter importance,
    https://proceedings.mlr.press/v32/hutter14.html

The objective is a function on the unit cube. Its variance under the uniform distribution splits into a share for each
parameter alone, one for each pair, and so on. A tree is constant on boxes, so all integrals are exact sums over its
leaves.

An inactive parameter has no effect: the function is constant along its axis there, as `Space.from_unit` is. Trials
have no coordinate on such an axis; each tree gets another random one. The share of a conditional parameter is
therefore that among all configurations, including those without it.

Notation, in addition to that of `trees`:
    f_0          the mean of a tree over the cube
    a_U          the tree's mean over all axes but those of U, a function of the axes of U
    V_U          the variance of a_U without that of its subsets
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from tunefleet_master.search.axes import Axes
from tunefleet_master.search.history import History, Values
from tunefleet_master.search.observations import Observations, collect_observations
from tunefleet_master.search.ranks import normal_quantiles
from tunefleet_master.search.trees import ChoiceOrder, Inputs, LeafBoxes, Tree

MIN_TRIALS = 40  # a forest on fewer trials fits noise
TRIALS_PER_PARAMETER = 8  # the Google tuning playbook's rule of thumb for the size of a space
MAX_TRIALS = 500  # shares are then accurate to a percent or two; the cost is quadratic in the leaves

N_TREES = 64  # the standard deviation between trees is .1 to .2, so that of the mean is .01 to .03
MIN_LEAF = 3  # SMAC3's value; with leaves of one trial, trees attribute noise to interactions of all parameters
N_PAIRED = 4  # the parameters with the greatest shares, for which all six pairs are computed


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of a parameter.

    Attributes:
        parameter: its name.
        share: of the variance, by this parameter alone; the mean over the trees.
        spread: the standard deviation of the share over the trees.
        total: the share of the variance that vanishes if the parameter is fixed: alone and in interactions.
    """

    parameter: str
    share: float
    spread: float
    total: float


@dataclass(frozen=True, slots=True)
class PairEffect:
    """The interaction of two parameters, beyond their single effects; attributes as in `Effect`."""

    parameters: tuple[str, str]
    share: float
    spread: float


@dataclass(frozen=True, slots=True)
class Importance:
    """The decomposition of the variance of the objective.

    Attributes:
        effects: of every parameter with more than one value, the greatest first.
        pairs: of the most important parameters, the greatest first.
        rest: the remaining share: noise, and interactions of more parameters.
        n_trials: the number of trials that it is estimated from.
    """

    effects: tuple[Effect, ...]
    pairs: tuple[PairEffect, ...]
    rest: float
    n_trials: int


def trials_needed(axes: Axes) -> int:
    """Return the number of trials with a result from which on importances are meaningful."""
    return max(MIN_TRIALS, TRIALS_PER_PARAMETER * int((~axes.is_fixed).sum()))


def importance(history: History) -> Importance | None:
    """Return the importance of each parameter. Takes a CPU second with 10 parameters and four with 50.

    None with too few trials, or without scikit-learn, which the extra `search` installs.

    A departure from the paper: the variance explained is that of normal quantiles of ranks. Otherwise a few trials that
    nearly diverged would make up all of the variance. Trials that were stopped early can only be compared by rank.
    """
    observed = collect_observations(history)
    axes = history.axes
    if len(observed.scores) < trials_needed(axes) or find_spec("sklearn") is None:
        return None
    trees = [_Decomposition(tree.boxes()) for tree in _grow(observed, axes)]
    tuned = [int(j) for j in np.flatnonzero(~axes.is_fixed)]
    mains = {j: np.array([tree.share(j) for tree in trees]) for j in tuned}
    totals = np.mean([tree.totals() for tree in trees], axis=0)
    order = sorted(tuned, key=lambda j: -mains[j].mean())
    pairs = {
        (i, j): np.array([tree.share(i, j) for tree in trees]) for i, j in itertools.combinations(order[:N_PAIRED], 2)
    }
    names = axes.space.names
    effects = tuple(Effect(names[j], *_mean_and_spread(mains[j]), total=float(totals[j])) for j in order)
    paired = tuple(
        PairEffect((names[i], names[j]), *_mean_and_spread(shares))
        for (i, j), shares in sorted(pairs.items(), key=lambda pair: -pair[1].mean())
    )
    explained = sum(effect.share for effect in effects) + sum(pair.share for pair in paired)
    return Importance(effects, paired, rest=max(0.0, 1.0 - explained), n_trials=len(observed.scores))


def _mean_and_spread(shares: Values) -> tuple[float, float]:
    return float(shares.mean()), float(shares.std())


def _grow(observed: Observations, axes: Axes) -> list[Tree]:
    """Grow the trees; the same history gives the same trees."""
    generator = np.random.default_rng(0)
    chosen = np.linspace(0, len(observed.scores) - 1, min(len(observed.scores), MAX_TRIALS)).astype(np.int64)
    scores = normal_quantiles(observed.scores)
    encoded = ChoiceOrder.of(axes, observed.points[chosen], scores=scores[chosen]).encode(observed.points[chosen])

    def inputs() -> Inputs:
        return np.where(np.isnan(encoded), generator.random(encoded.shape), encoded).astype(np.float32)

    return [
        Tree(inputs(), scores[chosen], cuts="best", min_leaf=MIN_LEAF, feature_share=1.0, generator=generator)
        for _ in range(N_TREES)
    ]


class _Decomposition:
    """The functional ANOVA of one tree (algorithm 2 of the paper)."""

    def __init__(self, boxes: LeafBoxes) -> None:
        self._boxes = boxes
        self._widths = boxes.high - boxes.low
        self._volumes = self._widths.prod(axis=1)
        self._mean = float(self._volumes @ boxes.means)
        self._variance = float(self._volumes @ (boxes.means - self._mean) ** 2)

    def share(self, *axes: int) -> float:
        """Return V_U / V for one or two axes; 0 if the tree is constant."""
        if self._variance <= 0:
            return 0.0
        parts = sum(self._variance_of_mean(j) for j in axes) if len(axes) > 1 else 0.0
        return max(0.0, self._variance_of_mean(*axes) - parts) / self._variance

    def _variance_of_mean(self, *axes: int) -> float:
        """Return the variance of a_U.

        Leaf i contributes c_i times its volume over the axes outside of U to a_U on its own box in U (theorem 3). The
        contributions of all leaves are summed up from the corners of their boxes.
        """
        low, high = self._boxes.low, self._boxes.high
        edges = [np.unique(np.concatenate([low[:, j], high[:, j]])) for j in axes]
        added = self._boxes.means * self._volumes / self._widths[:, axes].prod(axis=1)
        sums = np.zeros([len(edge) for edge in edges])
        for corner in itertools.product((0, 1), repeat=len(axes)):
            at = tuple(
                np.searchsorted(edge, (low, high)[end][:, j]) for edge, end, j in zip(edges, corner, axes, strict=True)
            )
            np.add.at(sums, at, (-1) ** sum(corner) * added)
        cells = np.ones(())
        for k, edge in enumerate(edges):
            sums = sums.cumsum(axis=k)
            cells = np.multiply.outer(cells, np.diff(edge))
        inner = sums[(slice(None, -1),) * len(axes)]
        return float((cells * (inner - self._mean) ** 2).sum())

    def totals(self) -> Values:
        """Return the share (d,) of the variance that vanishes when an axis is averaged out (Sobol's total index).

        The squared mean over axis j is integrated as a sum over pairs of leaves: the product of their values, of their
        widths on axis j, and of their overlaps on all other axes.
        """
        low, high, means = self._boxes.low, self._boxes.high, self._boxes.means
        d = low.shape[1]
        if self._variance <= 0:
            return np.zeros(d)
        overlaps = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
        overlaps = np.maximum(overlaps, 0.0)
        before = np.cumprod(np.insert(overlaps, 0, 1.0, axis=2), axis=2)
        after = np.ones(overlaps.shape[:2])
        remaining = np.empty(d)
        for j in reversed(range(d)):
            weights = means * self._widths[:, j]
            remaining[j] = weights @ (before[:, :, j] * after) @ weights
            after = after * overlaps[:, :, j]
        return np.asarray(np.clip((self._variance + self._mean**2 - remaining) / self._variance, 0.0, 1.0))
