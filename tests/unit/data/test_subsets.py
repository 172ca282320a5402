"""The rank correlation between a subset and the whole data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from tunefleet.data.subsets import rank_correlation


@given(
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=30).filter(
        lambda pairs: all(len(set(side)) > 1 for side in zip(*pairs, strict=True))
    )
)
def test_it_is_scipys_also_where_scores_are_equal(pairs: list[tuple[int, int]]) -> None:
    first, second = zip(*pairs, strict=True)
    found = rank_correlation(first, second)
    assert found.rho == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)
    assert found.low <= found.rho <= found.high


def test_the_bounds_hold_as_often_as_they_say() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        first = generator.normal(size=20)
        second = 0.8 * first + 0.6 * generator.normal(size=20)
        found = rank_correlation(first, second)
        held += found.low <= 0.7858 <= found.high  # of rho = 0.8: Spearman's is 6 / pi asin(rho / 2)
    assert 0.85 <= held / 400 <= 0.95


def test_failed_configurations_are_last_and_a_short_perfect_order_is_not_certain() -> None:
    assert rank_correlation([math.nan, 1, 2, 3, 4], [0, 1, 2, 3, 4]).rho == pytest.approx(1)
    assert rank_correlation([math.nan, math.inf, 2, 3, 4], [0, 0, 2, 3, 4]).rho == pytest.approx(1)
    assert rank_correlation(range(5), range(5)).low < 0.6


def test_scores_that_are_all_equal_rank_nothing_and_are_not_trusted() -> None:
    found = rank_correlation([1, 1, 1, 1], [1, 2, 3, 4])
    assert math.isnan(found.rho)
    assert not found.is_trusted


def test_too_few_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 3 scores"):
        rank_correlation([1, 2, 3], [1, 2, 3])
