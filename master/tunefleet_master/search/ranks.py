"""Rank transformation of scores."""

from __future__ import annotations

import numpy as np

from tunefleet_master.search.history import Values


def normal_quantiles(scores: Values) -> Values:
    """Return the normal quantiles (n,) of the ranks of scores (n,); equal scores share their mean rank.

    Neither the objective's scale nor outliers affect a model of them (the Gaussian copula of Salinas et al. 2020,
    https://proceedings.mlr.press/v119/salinas20a.html).
    """
    from scipy.special import ndtri  # takes a second, which delays no start of a master

    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - counts / 2
    return np.asarray(ndtri(middles[place] / max(1, len(scores))))
