"""Scores by their order alone."""

from __future__ import annotations

import numpy as np

from tunefleet_master.search.history import Values


def normal_quantiles(scores: Values) -> Values:
    """(n,): the normal quantiles of the ranks of scores (n,); equal scores share the middle of their ranks.

    Neither the objective's scale nor values that are far out matter to what is learnt from them (the Gaussian copula
    of Salinas et al. 2020, https://proceedings.mlr.press/v119/salinas20a.html).
    """
    from scipy.special import ndtri  # scipy takes a second to import, which a master that starts need not wait for

    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - counts / 2
    return np.asarray(ndtri(middles[place] / max(1, len(scores))))
