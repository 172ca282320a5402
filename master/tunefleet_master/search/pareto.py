"""Several objectives at once: who beats whom, and how much is gained.

Notation:
    values   (n, m) one row for each point, one column for each objective, minimised, finite
    a dominates b   a is no worse than b in any objective, and better in one; equal rows do not dominate each other
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tunefleet_master.search.axes import Mask
from tunefleet_master.search.history import Indices, Values


def front(values: Values) -> Mask:
    """(n,): which points no other one dominates."""
    # In the order of the first column, then the second ..., nobody is dominated by one that comes later, so that a
    # point that has survived all before it is on the front.
    candidates = np.lexsort(values.T[::-1])
    on_front = np.zeros(len(values), dtype=np.bool_)
    while len(candidates):
        best = values[candidates[0]]
        equal = (values[candidates] == best).all(axis=1)
        on_front[candidates[equal]] = True
        candidates = candidates[(values[candidates] < best).any(axis=1)]
    return on_front


def non_dominated_ranks(values: Values, *, enough: int | None = None) -> Indices:
    """(n,): 0 on the front, 1 on the front of what is left without it, and so on (Deb et al. 2002, section III-A).

    With `enough`, sorting ends as soon as so many points have their rank; all others share the next one.
    """
    ranks = np.empty(len(values), dtype=np.int64)
    left = np.arange(len(values))
    rank = 0
    while len(left) and (enough is None or len(values) - len(left) < enough):
        found = front(values[left])
        ranks[left[found]] = rank
        left = left[~found]
        rank += 1
    ranks[left] = rank
    return ranks


def crowding_distances(values: Values) -> NDArray[np.float64]:
    """(n,): how far apart the neighbours of each point of one front are (Deb et al. 2002, section III-B).

    For each objective the distance between the next lower and the next higher point, as a share of the front's range;
    infinite for the ends, so that they are kept. Points that share a value with an end are no ends themselves, or
    many equal points would all be kept.
    """
    n, _ = values.shape
    distances = np.zeros(n)
    for column in values.T:
        order = np.argsort(column, kind="stable")
        in_order = column[order]
        spread = in_order[-1] - in_order[0] if n else 0.0
        if spread > 0:
            distances[order[1:-1]] += (in_order[2:] - in_order[:-2]) / spread
        distances[order[[0, -1]] if n else order] = np.inf
    return distances


def places(values: Values, *, enough: int | None = None) -> Indices:
    """(n,): each point's place when they are sorted by their front, and within a front by how alone they are.

    With `enough`, only so many places are right, the first ones.
    """
    ranks = non_dominated_ranks(values, enough=enough)
    crowding = np.empty(len(values))
    for rank in range(int(ranks.max(initial=-1)) + 1):
        crowding[ranks == rank] = crowding_distances(values[ranks == rank])
    out = np.empty(len(values), dtype=np.int64)
    out[np.lexsort((-crowding, ranks))] = np.arange(len(values))
    return out


def hypervolume_2d(values: Values, reference: tuple[float, float]) -> float:
    """The area that points (n, 2) dominate and that the reference point bounds; 0 without a point below it."""
    inside = values[(values < np.array(reference)).all(axis=1)]
    steps = inside[front(inside)]
    steps = steps[np.argsort(steps[:, 0], kind="stable")]
    # From left to right each step of the stairs reaches from its own height up to the one before it.
    ceilings = np.concatenate([[reference[1]], steps[:-1, 1]])
    return float(((reference[0] - steps[:, 0]) * (ceilings - steps[:, 1])).sum())
