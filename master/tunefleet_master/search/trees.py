"""Regression trees over the unit cube of a space, for the forest and the importance of parameters.

Notation, in addition to that of `axes`:
    inputs       (n, d) float32, without NaN: the points that trees are grown on and evaluated at
    l            the number of leaves of a tree
    k            the number of values of a choice
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
    """An order of the values of choices, by their scores, so that a tree can cut the axis.

    Of all splits of unordered values into two groups, the one with the least squared error cuts them in order of their
    means (Fisher 1958, https://doi.org/10.1080/01621459.1958.10501479). Breiman et al. 1984 order them in each node. We
    order them once for the whole tree, so that a choice stays one axis with any number of values.

    Attributes:
        places: for each choice with three values or more, by its axis: (k,) the coordinate of each value.
    """

    places: Mapping[int, Values]

    @classmethod
    def of(cls, axes: Axes, points: Points, *, scores: Values) -> ChoiceOrder:
        """Return the order given by scores (n,) at canonical points (n, d)."""
        choices = np.flatnonzero(axes.is_choice & (axes.n_levels > 2))
        return cls({int(j): _places(points[:, j], scores, size=int(axes.n_levels[j])) for j in choices})

    def encode(self, points: Points) -> Points:
        """Return canonical points (n, d) with each choice's coordinate in this order; NaN stays NaN."""
        out = points.copy()
        for j, places in self.places.items():
            known = np.flatnonzero(~np.isnan(points[:, j]))
            out[known, j] = places[_levels(points[known, j], len(places))]
        return out


def _places(coordinates: Values, scores: Values, *, size: int) -> Values:
    known = ~np.isnan(coordinates)
    levels, observed_scores = _levels(coordinates[known], size), scores[known]
    # Add one observation with the mean of all: a value without scores gets the mean, and one with few scores is shrunk
    # towards it.
    middle = observed_scores.mean() if len(observed_scores) else 0.0
    means = (np.bincount(levels, weights=observed_scores, minlength=size) + middle) / (
        np.bincount(levels, minlength=size) + 1
    )
    places = np.empty(size)
    places[np.argsort(means, kind="stable")] = (np.arange(size) + 0.5) / size
    return places


def _levels(coordinates: Values, size: int) -> NDArray[np.int64]:
    return np.minimum((coordinates * size).astype(np.int64), size - 1)


@dataclass(frozen=True, slots=True)
class LeafBoxes:
    """A tree as a function that is constant on boxes.

    Attributes:
        low, high: (l, d) the corners of the leaves' boxes, which fill the cube and do not overlap.
        means: (l,) the tree's prediction in each box.
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
        """Grow the tree until leaves are pure, or have fewer than 2 `min_leaf` scores.

        Args:
            inputs: (n, d) where the scores were observed.
            scores: (n,), at least one.
            cuts: the best cut of all, or the best of one at random on each axis (Geurts et al. 2006,
                https://doi.org/10.1007/s10994-006-6226-1).
            min_leaf: the smallest number of scores in a leaf.
            feature_share: the share of the axes that are considered for each cut.
            generator: draws the sample, the axes and random cuts.
        """
        from sklearn.tree import DecisionTreeRegressor  # takes two seconds, which delay no start of a master

        drawn = generator.integers(len(scores), size=len(scores))
        model = DecisionTreeRegressor(
            splitter=cuts,
            min_samples_leaf=min_leaf,
            max_features=feature_share,
            random_state=int(generator.integers(2**31)),
        )
        self._tree: Any = model.fit(inputs[drawn], scores[drawn]).tree_

    def predict(self, inputs: Inputs) -> tuple[Values, Values]:
        """Return the mean and the variance, each (n,), of the scores in the leaves that contain the inputs (n, d)."""
        leaves = self._tree.apply(inputs)
        return self._tree.value[leaves, 0, 0], self._tree.impurity[leaves]

    def boxes(self) -> LeafBoxes:
        """Return the leaves' boxes in the unit cube."""
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
        return LeafBoxes(low[leaves], high[leaves], tree.value[leaves, 0, 0])
