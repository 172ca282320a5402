"""Assignment of whole groups to parts: each part is near its share of every class, and no group is in two parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tunefleet.data.columns import Positions
from tunefleet.data.order import random_order


def deal_groups(groups: Positions, classes: Positions, *, shares: ArrayLike, seed: int) -> Positions:
    """Return the part of each sample, int64 (n,), for parts with the given `shares` (p,), which sum to 1.

    `groups` and `classes` are codes from 0, int64 (n,). The largest groups are assigned first, each to the part where
    the squared distance of all class counts from their shares grows least. Groups of equal size come in a seeded
    order. The algorithm is greedy, like scikit-learn's StratifiedGroupKFold; the optimal assignment is NP-hard.
    """
    counts = np.zeros((groups.max() + 1, classes.max() + 1))
    np.add.at(counts, (groups, classes), 1)
    wanted = np.outer(np.asarray(shares, dtype=float), counts.sum(axis=0))
    part_of = np.empty(len(counts), dtype=np.int64)
    for group in _largest_first(counts.sum(axis=1), seed):
        part_of[group] = np.argmin(_growth(counts[group], wanted))
        wanted[part_of[group]] -= counts[group]
    return part_of[groups]


def _largest_first(sizes: NDArray[Any], seed: int) -> Positions:
    shuffled = random_order(len(sizes), seed)
    return shuffled[np.argsort(-sizes[shuffled], kind="stable")]


def _growth(count: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
    """Return the growth (p,) of each part's squared distance, for counts (c,) and the counts still wanted (p, c)."""
    return np.asarray(((wanted - count) ** 2 - wanted**2).sum(axis=1))
