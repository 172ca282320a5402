"""Regression trees over the unit cube of a space: what the forest and the importance of parameters are made of.

Notation, beside that of `axes`:
    inputs       (n, d) float32, without NaN: what trees are grown on and asked about
    l            the leaves of a tree
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tunefleet_master.search.axes import Axes, Points
from tunefleet_master.search.history import Values

Inputs = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ChoiceOrder:
    """Choices put on axes that a tree can cut: their values in order of the scores that they had.

    Of all ways to part unordered values in two, the one with the least squared error cuts them in order of their
    means (Fisher 1958, https://doi.org/10.1080/01621459.1958.10501479); Breiman et al. 1984 order them so in each
    node. We order them once for the whole tree, so that a choice stays one axis, however many values it has.

    Attributes:
        places: for each choice with three values or more, by its axis: (k,) the coordinate of each value.
    """

    places: Mapping[int, Values]

    @classmethod
    def of(cls, axes: Axes, points: Points, *, scores: Values) -> ChoiceOrder:
        """The order that scores (n,) at canonical points (n, d) give."""
        choices = np.flatnonzero(axes.is_choice & (axes.n_levels > 2))
        return cls({int(j): _places(points[:, j], scores, size=int(axes.n_levels[j])) for j in choices})

    def encode(self, points: Points) -> Points:
        """Canonical points (n, d) with each choice's coordinate in this order; NaN stays NaN."""
        out = points.copy()
        for j, places in self.places.items():
            known = np.flatnonzero(~np.isnan(points[:, j]))
            out[known, j] = places[_levels(points[known, j], len(places))]
        return out


def _places(coordinates: Values, scores: Values, *, size: int) -> Values:
    known = ~np.isnan(coordinates)
    levels, heard = _levels(coordinates[known], size), scores[known]
    # One more observation with the mean of all: a value that was never seen stands in the middle, and one that was
    # seen once is not believed as much as one that was seen often.
    middle = heard.mean() if len(heard) else 0.0
    means = (np.bincount(levels, weights=heard, minlength=size) + middle) / (np.bincount(levels, minlength=size) + 1)
    places = np.empty(size)
    places[np.argsort(means, kind="stable")] = (np.arange(size) + 0.5) / size
    return places


def _levels(coordinates: Values, size: int) -> NDArray[np.int64]:
    return np.minimum((coordinates * size).astype(np.int64), size - 1)


@dataclass(frozen=True, slots=True)
class Boxes:
    """A tree as what it says on each part of the unit cube.

    Attributes:
        low, high: (l, d) the corners of the leaves' boxes, which fill the cube and do not overlap.
        means: (l,) the tree's prediction in each.
    """

    low: Points
    high: Points
    means: Values


class Tree:
    """A regression tree, grown on a bootstrap sample (Breiman 2001, https://doi.org/10.1023/A:1010933404324)."""

    def __init__(
        self,
        inputs: Inputs,
        scores: Values,
        *,
        cuts: Literal["best", "random"],
        min_leaf: int,
        feature_share: float,
        generator: np.random.Generator,
    ) -> None:
        """Grow it until leaves are pure, or have less than two times `min_leaf` (n,) scores.

        Args:
            inputs: where the scores were observed.
            scores: (n,), at least one.
            cuts: the best cut of all, or the best of one at random on each axis (Geurts et al. 2006,
                https://doi.org/10.1007/s10994-006-6226-1).
            min_leaf: how many scores each leaf has at least.
            feature_share: of the axes, how many are looked at for each cut.
            generator: draws the sample, the axes and random cuts.
        """
        from sklearn.tree import DecisionTreeRegressor  # two seconds, which a master that starts need not wait for

        drawn = generator.integers(len(scores), size=len(scores))
        model = DecisionTreeRegressor(
            splitter=cuts,
            min_samples_leaf=min_leaf,
            max_features=feature_share,
            random_state=int(generator.integers(2**31)),
        )
        self._tree: Any = model.fit(inputs[drawn], scores[drawn]).tree_

    def predict(self, inputs: Inputs) -> tuple[Values, Values]:
        """The mean and the variance, each (n,), of the scores in the leaves that hold the inputs (n, d)."""
        leaves = self._tree.apply(inputs)
        return self._tree.value[leaves, 0, 0], self._tree.impurity[leaves]

    def boxes(self) -> Boxes:
        """The leaves' boxes in the unit cube."""
        tree = self._tree
        low, high = np.zeros((tree.node_count, tree.n_features)), np.ones((tree.node_count, tree.n_features))
        level = np.array([0])
        while len(level):  # all nodes of one depth at a time
            inner = level[tree.feature[level] >= 0]
            left, right = tree.children_left[inner], tree.children_right[inner]
            for children, cut_edge in ((left, high), (right, low)):
                low[children], high[children] = low[inner], high[inner]
                cut_edge[children, tree.feature[inner]] = tree.threshold[inner]
            level = np.concatenate([left, right])
        leaves = np.flatnonzero(tree.feature < 0)
        return Boxes(low[leaves], high[leaves], tree.value[leaves, 0, 0])
