"""Selection of the results that a Gaussian process is fitted to, which bounds its cost."""

from __future__ import annotations

import numpy as np

from tunefleet_master.search.gaussian_process.kernel import Array, Indices


def select_training_points(scores: Array, *, max_points: int) -> Indices:
    """Return ascending indices of at most `max_points` of the scores (n,); lower is better.

    Scores are in the order in which they came. A third are the best, near which the next proposal will lie. A third are
    the newest, which correct the model where it was wrong. A third are spread over the ranks of the others, so that bad
    regions are not searched again.
    """
    n = len(scores)
    if n <= max_points:
        return np.arange(n)
    third = max_points // 3
    is_selected = np.zeros(n, dtype=np.bool_)
    is_selected[np.argsort(scores, kind="stable")[:third]] = True
    is_selected[np.flatnonzero(~is_selected)[-third:]] = True
    rest = np.flatnonzero(~is_selected)
    is_selected[rest[spread_over_ranks(scores[rest], max_points=max_points - 2 * third)]] = True
    return np.flatnonzero(is_selected)


def spread_over_ranks(scores: Array, *, max_points: int) -> Indices:
    """Return ascending indices of at most `max_points` of the scores (n,), in even steps from best to worst."""
    steps = np.linspace(0, len(scores) - 1, min(max_points, len(scores))).round().astype(np.int64)
    return np.sort(np.argsort(scores, kind="stable")[steps])
