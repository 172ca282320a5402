"""Whether a subset of the data may stand for the whole: does it put configurations in the same order?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TRUSTED = 0.6  # below it the better half of a subset's ranking leaves out the best too often
FEWEST = 4  # a confidence interval needs more than 3


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Spearman's rho of n configurations, from -1 to 1, between bounds that hold with a probability of about 0.9."""

    rho: float
    low: float
    high: float
    n: int

    @property
    def is_trusted(self) -> bool:
        """Whether the ranking may be used; NaN is not."""
        return self.rho >= TRUSTED


def rank_correlation(values: ArrayLike, reference: ArrayLike) -> RankCorrelation:
    """Spearman's rank correlation of two scores (n,) of the same configurations; equal ones have their mean rank.

    A configuration whose score is not finite failed, and shares the last place; so pass scores of which greater ones
    are better. The bounds are Fisher's z with a variance of 1.06 / (n - 3) (Fieller, Hartley and Pearson 1957), of at
    most what one swap of neighbours leaves of a perfect order. Where all scores of a side are equal nothing is ranked,
    and rho is NaN.

    Raises:
        ValueError: they are not of the same length, or fewer than 4.
    """
    first, second = (_ranks(np.asarray(scores, dtype=float)) for scores in (values, reference))
    if len(first) != len(second) or len(first) < FEWEST:
        raise ValueError(
            f"there are {len(first)} and {len(second)} scores; they must be as many, and at least {FEWEST}."
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
