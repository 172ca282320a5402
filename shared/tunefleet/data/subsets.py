"""Rank correlation: a check that a subset of the data ranks configurations as the whole data does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TRUSTED = 0.6  # below it, the better half of the subset's ranking misses the best configuration too often
MIN_SCORES = 4  # a confidence interval needs more than 3


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Spearman's rho of n configurations, from -1 to 1, with an approximate confidence interval of 90 %."""

    rho: float
    low: float
    high: float
    n: int

    @property
    def is_trusted(self) -> bool:
        """True if the ranking is reliable; False for NaN."""
        return self.rho >= TRUSTED


def rank_correlation(values: ArrayLike, reference: ArrayLike) -> RankCorrelation:
    """Return Spearman's rank correlation of two scores (n,) of the same configurations; ties have their mean rank.

    Greater scores are better: failed configurations, with scores that are not finite, share the last rank. The bounds
    use Fisher's z with a variance of 1.06 / (n - 3) (Fieller, Hartley and Pearson 1957); z is limited to that of a
    perfect order with one swap of neighbours. If all scores of one side are equal, rho is NaN.

    Raises:
        ValueError: the lengths differ, or are below 4.
    """
    first, second = (_ranks(np.asarray(scores, dtype=float)) for scores in (values, reference))
    if len(first) != len(second) or len(first) < MIN_SCORES:
        raise ValueError(
            f"there are {len(first)} and {len(second)} scores; the numbers must be equal, and at least {MIN_SCORES}."
        )
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return RankCorrelation(math.nan, -1.0, 1.0, len(first))
    rho = float(np.clip(np.corrcoef(first, second)[0, 1], -1, 1))
    n = len(first)
    one_swap = 1 - 12 / (n * (n * n - 1))
    centre = math.atanh(min(max(rho, -one_swap), one_swap))
    half = 1.645 * math.sqrt(1.06 / (n - 3))
    return RankCorrelation(rho, min(rho, math.tanh(centre - half)), max(rho, math.tanh(centre + half)), n)


def _ranks(scores: NDArray[Any]) -> NDArray[Any]:
    _, codes, counts = np.unique(
        np.where(np.isfinite(scores), scores, -np.inf), return_inverse=True, return_counts=True
    )
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[codes])
