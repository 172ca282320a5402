"""Several objectives: dominance, crowding and hypervolume.

Notation:
    values          (n, m) one row for each point, one column for each objective, minimised, finite
    a dominates b   a is no worse than b in any objective and better in one; equal rows do not dominate each other
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tunefleet_master.search.axes import Mask
from tunefleet_master.search.history import Indices, Values


def front(values: Values) -> Mask:
    """Return a mask (n,) of the points that no other point dominates."""
    # In lexicographic order no point is dominated by a later one, so a point that survives all earlier ones is on the
    # front.
    candidates = np.lexsort(values.T[::-1])
    on_front = np.zeros(len(values), dtype=np.bool_)
    while len(candidates):
        best = values[candidates[0]]
        equal = (values[candidates] == best).all(axis=1)
        on_front[candidates[equal]] = True
        candidates = candidates[(values[candidates] < best).any(axis=1)]
    return on_front


def non_dominated_ranks(values: Values, *, enough: int | None = None) -> Indices:
    """Return ranks (n,): 0 on the front, 1 on the front of the rest, and so on (Deb et al. 2002, section III-A).

    With `enough`, sorting stops as soon as this many points have a rank; all others share the next one.
    """
    ranks = np.empty(len(values), dtype=np.int64)
    remaining = np.arange(len(values))
    rank = 0
    while len(remaining) and (enough is None or len(values) - len(remaining) < enough):
        found = front(values[remaining])
        ranks[remaining[found]] = rank
        remaining = remaining[~found]
        rank += 1
    ranks[remaining] = rank
    return ranks


def crowding_distances(values: Values) -> NDArray[np.float64]:
    """Return the crowding distance (n,) of each point of one front (Deb et al. 2002, section III-B).

    For each objective it is the distance between the next lower and the next higher point, as a share of the front's
    range. It is infinite for the ends of the front, so that they survive. A point that ties with an end is not an end:
    otherwise many equal points would survive.
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


def crowded_ranks(values: Values, *, enough: int | None = None) -> Indices:
    """Return each point's position (n,) when sorted by front, and within a front by crowding distance.

    With `enough`, only the first `enough` positions are exact.
    """
    ranks = non_dominated_ranks(values, enough=enough)
    crowding = np.empty(len(values))
    for rank in range(int(ranks.max(initial=-1)) + 1):
        crowding[ranks == rank] = crowding_distances(values[ranks == rank])
    out = np.empty(len(values), dtype=np.int64)
    out[np.lexsort((-crowding, ranks))] = np.arange(len(values))
    return out


def hypervolume_2d(values: Values, reference: tuple[float, float]) -> float:
    """Return the area that points (n, 2) dominate below the reference point; 0 without a point below it."""
    inside = values[(values < np.array(reference)).all(axis=1)]
    steps = inside[front(inside)]
    steps = steps[np.argsort(steps[:, 0], kind="stable")]
    # From left to right, each step of the front reaches from its own height up to that of the step before it.
    ceilings = np.concatenate([[reference[1]], steps[:-1, 1]])
    return float(((reference[0] - steps[:, 0]) * (ceilings - steps[:, 1])).sum())
