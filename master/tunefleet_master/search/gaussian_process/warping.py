"""Values as a Gaussian process can take them."""

from __future__ import annotations

import math

import numpy as np

from tunefleet_master.search.gaussian_process.kernel import Array


def warped(values: Array, *, whole_up_to: float = -math.inf) -> Array:
    """Values (n,), lower being better, standardised after the worse half has been drawn in.

    With `whole_up_to`, only those that are worse than it, too: with several objectives values that are poor in one are
    part of the front.

    A value that is worse than the median becomes a quantile of a normal distribution, of which the better half
    decides how wide it is: the half-rank warping of the Vizier GP bandit (Song et al. 2024,
    https://arxiv.org/abs/2408.11527). So the order stays, what is good keeps its distances, and a learning rate that
    diverges to 1e9 neither flattens everything else nor says more than "worst".
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    size = np.abs(values).max() or 1.0
    values = values / size  # against overflow in squares
    median = np.sort(values)[(len(values) - 1) // 2]
    pivot = max(median, whole_up_to / size)
    good = values <= pivot
    # Without a spread among the good ones, that of all is as good a unit as any.
    width = np.sqrt(np.mean((values[good] - pivot) ** 2)) or values.std()
    quantiles = ndtri((rankdata(values) - 0.5) / len(values))
    # A pivot that is worse than the median has a quantile of its own, from which the others go on.
    begin = ndtri((good.sum() - 0.5) / len(values)) if pivot > median else 0.0
    drawn_in = np.where(good, values, pivot + width * (quantiles - begin))
    return np.asarray((drawn_in - drawn_in.mean()) / (drawn_in.std() or 1.0))
