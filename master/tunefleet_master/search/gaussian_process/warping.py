"""Warping of values towards a normal distribution."""

from __future__ import annotations

import math

import numpy as np

from tunefleet_master.search.gaussian_process.kernel import Array


def warped(values: Array, *, unwarped_up_to: float = -math.inf) -> Array:
    """Return values (n,), lower being better, with the worse half warped, standardised.

    A value worse than the median becomes a quantile of a normal distribution. The better half determines the width of
    that distribution. This is the half-rank warping of the Vizier GP bandit (Song et al. 2024,
    https://arxiv.org/abs/2408.11527). It retains the order and the distances between good values. A learning rate that
    diverges to 1e9 neither flattens the other values nor counts as more than the worst.

    Values up to `unwarped_up_to` are not warped: with several objectives, the front contains values that are poor in
    one.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    size = np.abs(values).max() or 1.0
    values = values / size  # against overflow of squares
    median = np.sort(values)[(len(values) - 1) // 2]
    pivot = max(median, unwarped_up_to / size)
    good = values <= pivot
    # If the good values are all equal, use the spread of all values.
    width = np.sqrt(np.mean((values[good] - pivot) ** 2)) or values.std()
    quantiles = ndtri((rankdata(values) - 0.5) / len(values))
    # A pivot worse than the median starts at its own quantile.
    begin = ndtri((good.sum() - 0.5) / len(values)) if pivot > median else 0.0
    warped_values = np.where(good, values, pivot + width * (quantiles - begin))
    return np.asarray((warped_values - warped_values.mean()) / (warped_values.std() or 1.0))
