"""Findings from the reports of trials: shared findings, noise, and metrics that disagree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from tests.unit.master.diagnosis.study_views import random_study_view, spec_of, with_edit
from tests.unit.master.diagnosis.trial_curves import curve, falling

from tunefleet_master.diagnosis.noise import indistinguishable_trials, metric_disagreements, noise
from tunefleet_master.diagnosis.reported import Reported
from tunefleet_master.diagnosis.shared_findings import shared_findings
from tunefleet_master.diagnosis.study_view import StudyView
from tunefleet_master.diagnosis.training.curve import TrialCurve
from tunefleet_master.diagnosis.training.rules import TRIAL_RULES
from tunefleet_master.diagnosis.training.series import sample_size

SPACE: dict[str, Any] = {"lr": {"log": [1e-4, 1e-1]}, "dropout": {"float": [0, 0.3]}, "act": ["relu", "gelu"]}
OVERFIT = [*falling(2.0, 0.5, n=6), *np.linspace(0.52, 0.9, 14).tolist()]


def view_of(curves: list[TrialCurve], **more: Any) -> StudyView:
    view = random_study_view(spec_of(SPACE), lambda params: float(params["lr"]), 40)
    return replace(view, reported=Reported(best=dict(enumerate(curves)), **more))


def test_a_finding_of_half_of_the_best_trials_is_one_finding_with_an_edit() -> None:
    view = view_of([curve(val_loss=OVERFIT)] * 9 + [curve()] * 3)
    (found,) = shared_findings(view)
    assert found.sentence == "9 of the 12 best trials overfit from step 5 on (median)."
    assert found.edit == {"dropout": {"float": [0.0, 0.45]}}
    with_edit(view.spec, found.edit)


def test_findings_of_few_of_the_best_trials_are_not_shared() -> None:
    assert list(shared_findings(view_of([curve(val_loss=OVERFIT)] * 5 + [curve()] * 7))) == []
    assert list(shared_findings(view_of([curve(val_loss=OVERFIT)] * 2))) == []


def test_budgets_are_findings_of_the_study_only() -> None:
    short = curve(val_accuracy=np.linspace(0.3, 0.9, 20).tolist())
    (found,) = shared_findings(view_of([short] * 4))
    assert (found.code, found.severity, found.edit) == ("budget_too_short", "warning", None)


def test_every_rule_over_trials_has_a_summary_for_the_study() -> None:
    assert [row.code for row in TRIAL_RULES if row.summary is None] == []


def accurate(view_noise: float) -> StudyView:
    """Forty trials with accuracies that are shares of 500 samples and differ by up to `view_noise`."""
    generator = np.random.default_rng(0)
    spec = spec_of(SPACE, goal="maximize")
    spec = type(spec).parse({**spec.to_json(), "objective": {"metric": "val_accuracy", "goal": "maximize"}})
    view = random_study_view(spec, lambda _params: round(500 * (0.1 + view_noise * generator.random())) / 500, 40)
    shares = [round(500 * share) / 500 for share in falling(0.3, 0.9)]
    return replace(view, reported=Reported(best={0: curve(val_accuracy=shares)}))


def test_trials_within_two_standard_errors_of_the_best_are_indistinguishable() -> None:
    view = accurate(0.05)
    found = {each.code: each for each in indistinguishable_trials(view)}
    assert found["within_noise"].evidence["samples"] == 500
    assert "act = relu" in found["effect_within_noise"].sentence
    measured = noise(view)
    assert measured is not None
    assert abs(measured.error - np.sqrt(0.9 * 0.1 / 500)) < 1e-3


def test_without_curves_nothing_is_known_of_noise() -> None:
    assert list(indistinguishable_trials(replace(accurate(0.05), reported=Reported()))) == []


def test_a_validation_part_is_known_by_its_shares() -> None:
    assert sample_size(np.array([0.26, 0.5, 0.98])) == 50
    assert sample_size(np.array([1 / 3, 2 / 7, 1 / 21])) == 21
    assert sample_size(np.array([0.123456789123, 0.5, np.pi / 4])) is None
    assert sample_size(np.array([0.5, 0.5])) is None


def results(second: Callable[[float], float]) -> dict[int, dict[str, float]]:
    return {i: {"val_loss": i / 40, "val_accuracy": second(i / 40), "train_loss": 1 - i / 40} for i in range(40)}


def test_metrics_that_rank_trials_otherwise_are_named_with_the_trial_that_is_the_best_by_the_other() -> None:
    (found,) = metric_disagreements(view_of([], results=results(lambda loss: loss)))
    assert found.code == "metrics_disagree"
    assert found.evidence["place"] == 40
    assert "trial 39, the best by val_accuracy" in found.sentence


def test_metrics_that_agree_and_those_of_training_are_not_named() -> None:
    assert list(metric_disagreements(view_of([], results=results(lambda loss: 1 - loss)))) == []
