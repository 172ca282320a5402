"""Regions of infeasible trials, and their distance from the best one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import fisher_exact
from tests.unit.master.diagnosis.study_views import random_study_view, spec_of, study_view_of, with_edit

from tunefleet_master.diagnosis.failures import failing_regions, many_failures, rates_near_divergence
from tunefleet_master.diagnosis.finding import Severity

SPACE: dict[str, Any] = {
    "lr": {"log": [1e-5, 1.0]},
    "batch_size": {"int": [8, 512], "log": True},
    "optimizer": ["sgd", "adam", "lion"],
}


def diverges_above(rate: float, *, best: float = 1e-3) -> Any:
    return lambda p: math.inf if p["lr"] > rate else (math.log10(p["lr"]) - math.log10(best)) ** 2


def test_the_rate_above_which_training_diverges_is_found_and_cut_off() -> None:
    view = random_study_view(spec_of(SPACE), diverges_above(0.03), 60)
    (finding,) = failing_regions(view)
    assert finding.severity is Severity.WARNING
    assert " trials with lr > 0.03" in finding.sentence
    assert finding.evidence["n_failed_inside"] == finding.evidence["n_inside"]
    assert finding.evidence["n_failed_outside"] == 0
    edited = with_edit(view.spec, finding.edit)
    assert edited.space["lr"].bounds == pytest.approx((1e-5, 0.03), rel=0.3)  # type: ignore[union-attr]


def test_a_value_of_a_choice_that_fails_is_left_out() -> None:
    view = random_study_view(spec_of(SPACE), lambda p: math.inf if p["optimizer"] == "lion" else p["lr"], 60)
    (finding,) = failing_regions(view)
    assert "optimizer = lion" in finding.sentence
    assert finding.edit == {"optimizer": {"choice": ["sgd", "adam"]}}


def test_integers_are_cut_at_the_last_value_that_works() -> None:
    spec = spec_of({"depth": {"int": [1, 8]}, "x": {"float": [0, 1]}})
    (finding,) = failing_regions(random_study_view(spec, lambda p: math.inf if p["depth"] > 5 else p["x"], 60))
    assert finding.edit == {"depth": {"int": [1, 5]}}
    assert "depth > 5 " in finding.sentence


def test_the_best_trial_is_never_cut_off() -> None:
    spec = spec_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})
    failing = [{"x": 0.8 + 0.01 * i, "y": 0.05 * i} for i in range(10)]
    (finding,) = failing_regions(
        study_view_of(
            spec,
            lambda p: math.inf if p["x"] > 0.75 and p["y"] != 0.12 else 1 - p["x"],
            [*failing, {"x": 0.95, "y": 0.12}, *({"x": 0.05 * i, "y": 0.03 * i} for i in range(15))],
        )
    )
    assert finding.edit is None
    assert "11 trials" in finding.sentence


def test_failures_that_lie_anywhere_have_no_region() -> None:
    generator = np.random.default_rng(0)
    alarms = 0
    for seed in range(20):
        view = random_study_view(
            spec_of(SPACE), lambda p: math.inf if generator.random() < 0.3 else p["lr"], 60, seed=seed
        )
        alarms += bool(list(failing_regions(view)))
        assert not list(rates_near_divergence(view))
    assert alarms <= 1


def test_the_p_value_of_a_region_is_fishers_times_the_number_of_regions() -> None:
    spec = spec_of({"c": ["a", "b"], "x": {"fixed": 1}})
    rows = [("a", 9, 1), ("b", 1, 9)]
    trials: list[dict[str, Any]] = []
    fates: list[float] = []
    for value, n_failed, n_fine in rows:
        trials += [{"c": value, "x": 1}] * (n_failed + n_fine)
        fates += [math.inf] * n_failed + [1.0] * n_fine
    fate = iter(fates)
    (finding,) = failing_regions(study_view_of(spec, lambda p: next(fate), trials))
    expected = fisher_exact(np.array([[9, 1], [1, 9]]), alternative="greater").pvalue
    assert finding.evidence["p_value"] == pytest.approx(2 * expected)


@pytest.mark.parametrize(("rate", "n"), [(1e-2, 1), (0.5, 0)])
def test_more_than_a_quarter_of_failures_is_a_finding(rate: float, n: int) -> None:
    found = list(many_failures(random_study_view(spec_of(SPACE), diverges_above(rate), 60)))
    assert len(found) == n


def test_two_failures_are_no_pattern() -> None:
    view = random_study_view(spec_of(SPACE), diverges_above(0.03), 6)
    assert [*many_failures(view), *failing_regions(view)] == []


def test_a_best_rate_next_to_those_that_diverge_is_at_the_edge_of_stability() -> None:
    (finding,) = rates_near_divergence(random_study_view(spec_of(SPACE), diverges_above(0.03, best=0.02), 60))
    ratio: Any = finding.evidence["ratio"]
    assert 1 < ratio < 3
    assert list(rates_near_divergence(random_study_view(spec_of(SPACE), diverges_above(0.03, best=3e-4), 60))) == []
    other = {"rate": SPACE["lr"], "batch_size": SPACE["batch_size"]}
    view = random_study_view(spec_of(other), lambda p: math.inf if p["rate"] > 0.03 else abs(p["rate"] - 0.02), 60)
    assert list(rates_near_divergence(view)) == []
