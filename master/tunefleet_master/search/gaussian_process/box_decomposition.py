"""The region that a front does not dominate, decomposed into boxes.

Notation, in addition to that of `pareto`:
    reference   (m,) the reference point; values worse than it in any objective gain nothing
    boxes       c disjoint boxes; their union is all values below the reference that the front does not dominate
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunefleet_master.search.gaussian_process.kernel import Array
from tunefleet_master.search.pareto import front


@dataclass(frozen=True, slots=True)
class BoxDecomposition:
    """Disjoint boxes.

    Attributes:
        low: (c, m) the better corner of each; minus infinity where there is no bound.
        high: (c, m) the worse corner, finite.
    """

    low: Array
    high: Array

    def improvements(self, values: Array) -> Array:
        """Return the hypervolume (n,) that each point (n, m) would add to the front on its own."""
        sides = np.maximum(self.high - np.maximum(self.low, values[:, None]), 0.0)
        return np.asarray(sides.prod(axis=2).sum(axis=1))


def decompose_nondominated(values: Array, reference: Array) -> BoxDecomposition:
    """Decompose the region below the reference that points (n, m) do not dominate; some may dominate others.

    The space is cut along the last objective wherever the front in the other objectives changes, and each slab
    recursively along the objective before it. Two objectives give one box for each step of the front. With m objectives
    there are at most n^(m - 1) boxes, and far fewer in practice, since slabs without a change stay whole.
    """
    inside = values[(values < reference).all(axis=1)]
    low, high = _decompose(np.unique(inside[front(inside)], axis=0), reference)
    return BoxDecomposition(low, high)


def _decompose(points: Array, reference: Array) -> tuple[Array, Array]:
    """Return the corners of the boxes beyond a front (n, m), below the reference (m,)."""
    m = len(reference)
    if m == 1:
        return np.full((1, 1), -np.inf), points.min(axis=0, initial=np.inf, keepdims=True).clip(max=reference)
    edges = [(-np.inf, np.empty((0, m - 1)))]  # where each slab begins, and the front of the other objectives within it
    for level in np.unique(points[:, -1]):
        below = points[points[:, -1] <= level, :-1]
        projection = np.unique(below[front(below)], axis=0)
        if not np.array_equal(projection, edges[-1][1]):
            edges.append((float(level), projection))
    ends = [begin for begin, _ in edges[1:]] + [float(reference[-1])]
    lows, highs = [], []
    for (begin, projection), end in zip(edges, ends, strict=True):
        low, high = _decompose(projection, reference[:-1])
        lows.append(np.column_stack([low, np.full(len(low), begin)]))
        highs.append(np.column_stack([high, np.full(len(high), end)]))
    return np.vstack(lows), np.vstack(highs)
