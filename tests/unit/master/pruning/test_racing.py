"""Elimination in a race over folds, and its test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tunefleet_master.pruning.racing import ALPHA, Race, p_value


def test_the_p_value_is_that_of_the_corrected_t() -> None:
    differences = [0.3, 0.1, 0.25, 0.2]
    for folds in (5, 10):
        t = np.mean(differences) / (np.std(differences, ddof=1) * math.sqrt(1 / 4 + 1 / (folds - 1)))
        assert p_value(differences, folds=folds) == pytest.approx(stats.t.sf(t, df=3), rel=1e-12)


def test_the_corrected_test_is_stricter_than_that_of_independent_pairs() -> None:
    differences = [0.3, 0.1, 0.25]
    usual = stats.ttest_1samp(differences, 0.0, alternative="greater").pvalue
    assert usual < ALPHA < p_value(differences, folds=5)


@pytest.mark.parametrize(
    ("differences", "p"),
    [([0.1, 0.1, 0.1], 1 / 8), ([0.1, 0.1 + 1e-17, 0.1, 0.1, 0.1], 1 / 32), ([0.0, 0.0, 0.0], 1.0), ([-1.0, 0.5], 1.0)],
)
def test_equal_differences_count_by_their_sign_alone_and_none_means_nothing(differences: list[float], p: float) -> None:
    assert p_value(differences, folds=5) == p


def race_of(*configurations: dict[int, float], folds: int = 5, sign: float = 1.0) -> Race:
    """Configurations with the values of their folds; those that are left out wait."""
    race = Race(folds, sign=sign)
    for number, values in enumerate(configurations):
        for fold in range(folds):
            race.begin(number * folds + fold)
        for fold, value in values.items():
            race.complete(number * folds + fold, value)
    return race


def eliminated(race: Race) -> list[int]:
    return [elimination.configuration for elimination in race.eliminations()]


FIRST = {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}


def test_folds_are_compared_with_the_same_folds_of_the_best() -> None:
    worse = {1: 1.11, 3: 3.10, 4: 4.09}  # its mean is above that of the best for being on hard folds, besides
    fine = {2: 2.01, 3: 2.99, 4: 4.01}
    assert eliminated(race_of(FIRST, worse, fine)) == [1]


def test_a_lower_value_of_a_maximised_objective_is_eliminated() -> None:
    lower = {0: -0.10, 1: 0.89, 2: 1.91}
    higher = {0: 0.10, 1: 1.11, 2: 2.09}
    assert eliminated(race_of(FIRST, lower, higher, sign=-1.0)) == [1]


def test_nothing_is_eliminated_before_a_configuration_is_complete() -> None:
    assert eliminated(race_of({0: 0.0, 1: 0.0, 2: 0.0, 3: 0.0}, {0: 9.0, 1: 9.1, 2: 9.2, 3: 9.1})) == []


def test_the_best_is_whichever_has_the_best_mean_in_whatever_order_they_came() -> None:
    better = {fold: value - 1.0 for fold, value in FIRST.items()}
    third = {0: -0.40, 1: 0.61, 2: 1.59, 3: 2.60}  # better than the first, and worse than the second
    assert eliminated(race_of(FIRST, better, third)) == eliminated(race_of(better, FIRST, third)) == [2]


def test_a_configuration_with_a_pruned_fold_gets_no_others_also_when_one_is_run_again() -> None:
    race = race_of({0: 1.0})
    race.end(1, is_pruned=True)
    assert eliminated(race) == [0]
    for trial in (2, 3, 4):
        race.end(trial, is_pruned=False)
    assert eliminated(race) == []
    race.begin(3)
    assert eliminated(race) == [0]
