"""Selection of the results that a Gaussian process is fitted to, which bounds its cost."""

from __future__ import annotations

import numpy as np

from tunefleet_master.search.gaussian_process.kernel import Array, Indices


def select_training_points(scores: Array, *, most: int) -> Indices:
    """Return ascending indices of at most `most` of the scores (n,), in the order in which they came; lower is better.

    A third are the best, near which the next proposal will lie. A third are the newest, which correct the model where
    it was wrong. A third are spread over the ranks of the others, so that bad regions are not searched again.
    """
    n = len(scores)
    if n <= most:
        return np.arange(n)
    third = most // 3
    is_kept = np.zeros(n, dtype=np.bool_)
    is_kept[np.argsort(scores, kind="stable")[:third]] = True
    is_kept[np.flatnonzero(~is_kept)[-third:]] = True
    rest = np.flatnonzero(~is_kept)
    is_kept[rest[spread_over_ranks(scores[rest], most=most - 2 * third)]] = True
    return np.flatnonzero(is_kept)


def spread_over_ranks(scores: Array, *, most: int) -> Indices:
    """Return ascending indices of at most `most` of the scores (n,), in even steps from best to worst."""
    steps = np.linspace(0, len(scores) - 1, min(most, len(scores))).round().astype(np.int64)
    return np.sort(np.argsort(scores, kind="stable")[steps])
