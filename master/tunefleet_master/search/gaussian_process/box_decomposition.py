"""The part of a space of values that a front leaves to be gained, cut into boxes.

Notation, beside that of `pareto`:
    reference   (m,) what is worse than it in any objective counts as nothing gained
    cells       c disjoint boxes; together they are all values below the reference that no point of the front dominates
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunefleet_master.search.gaussian_process.kernel import Array
from tunefleet_master.search.pareto import front


@dataclass(frozen=True, slots=True)
class BoxDecomposition:
    """Boxes.

    Attributes:
        low: (c, m) the better corner of each; minus infinity where there is no bound.
        high: (c, m) the worse one, finite.
    """

    low: Array
    high: Array

    def gained(self, values: Array) -> Array:
        """(n,): by how much each point (n, m), alone, would raise the hypervolume of the front."""
        sides = np.maximum(self.high - np.maximum(self.low, values[:, None]), 0.0)
        return np.asarray(sides.prod(axis=2).sum(axis=1))


def cells_beyond(values: Array, reference: Array) -> BoxDecomposition:
    """What is left below the reference by points (n, m) of which some may dominate others.

    The space is cut along the last objective wherever what is dominated in the others changes, and each slab again
    along the one before it: with two objectives that makes one cell for each step of the stairs. With m it makes at
    most n^(m - 1), and far fewer, as slabs in which nothing changes stay whole.
    """
    inside = values[(values < reference).all(axis=1)]
    low, high = _cut(np.unique(inside[front(inside)], axis=0), reference)
    return BoxDecomposition(low, high)


def _cut(steps: Array, reference: Array) -> tuple[Array, Array]:
    """The corners of the cells beyond a front (n, m), below the reference (m,)."""
    m = len(reference)
    if m == 1:
        return np.full((1, 1), -np.inf), steps.min(axis=0, initial=np.inf, keepdims=True).clip(max=reference)
    edges = [(-np.inf, np.empty((0, m - 1)))]  # where each slab begins, and the front of the others within it
    for level in np.unique(steps[:, -1]):
        below = steps[steps[:, -1] <= level, :-1]
        shadow = np.unique(below[front(below)], axis=0)
        if not np.array_equal(shadow, edges[-1][1]):
            edges.append((float(level), shadow))
    ends = [begin for begin, _ in edges[1:]] + [float(reference[-1])]
    lows, highs = [], []
    for (begin, shadow), end in zip(edges, ends, strict=True):
        low, high = _cut(shadow, reference[:-1])
        lows.append(np.column_stack([low, np.full(len(low), begin)]))
        highs.append(np.column_stack([high, np.full(len(high), end)]))
    return np.vstack(lows), np.vstack(highs)
