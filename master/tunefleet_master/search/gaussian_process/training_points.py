"""Which results a Gaussian process is made of, when there are more than it can take in the time that it has."""

from __future__ import annotations

import numpy as np

from tunefleet_master.search.gaussian_process.kernel import Array, Indices


def select_training_points(scores: Array, *, most: int) -> Indices:
    """The indices, rising, of at most `most` of the scores (n,), lower being better, in the order in which they came.

    A third are the best, among which the next proposal will lie. A third came last: they are what the model was wrong
    about. A third are spread over the ranks of all others, so that what is bad is not forgotten and searched again.
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
    """The indices, rising, of at most `most` of the scores (n,): the best, the worst, and even steps between them."""
    steps = np.linspace(0, len(scores) - 1, min(most, len(scores))).round().astype(np.int64)
    return np.sort(np.argsort(scores, kind="stable")[steps])
