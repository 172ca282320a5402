"""Every rule over one trial fires on its fault and not on a near miss."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.unit.master.diagnosis.trial_curves import N, curve, falling, findings_by_code

from tunefleet_master.diagnosis.finding import Severity
from tunefleet_master.diagnosis.training.calibration import fano_bound
from tunefleet_master.diagnosis.training.curve import TrialCurve
from tunefleet_master.diagnosis.training.findings import is_alarm, lacking, trial_findings
from tunefleet_master.diagnosis.training.rules import TRIAL_RULES


def with_rise(rise: float, *, last: int) -> list[float]:
    """A validation loss with last values that lie above its lowest one by a share of it."""
    values = falling(2.0, 0.5)
    return [*values[:-last], *[min(values[:-last]) * (1 + rise)] * last]


def jumping(size: float) -> list[float]:
    """A training loss that rises by a share of itself in every fourth step."""
    values = falling(2.2, 0.8)
    return [value * (1 + size) if i % 4 == 3 else value for i, value in enumerate(values)]


FIRES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "diverged": ({"train_loss": [2.0, 1.5, math.nan]}, {"train_loss": [2.0, 1.5, 1.4]}),
    "negative_loss": ({"train_loss": falling(2.0, -0.5)}, {"train_loss": falling(2.0, 0.01)}),
    "not_shuffled": (
        {"train_accuracy": falling(0.02, 0.5), "val_loss": falling(2.2, 0.9)},
        {"train_accuracy": falling(0.08, 0.5), "val_loss": falling(2.2, 0.9)},
    ),
    "nothing_learned": (
        {"train_loss": falling(2.3, 2.25), "train_accuracy": [0.1] * N},
        {"train_loss": falling(2.3, 2.25), "train_accuracy": falling(0.1, 0.2)},
    ),
    "nothing_carries_over": (
        {"val_loss": falling(2.3, 2.5), "val_accuracy": [0.1] * N},
        {"val_loss": falling(2.3, 2.2), "val_accuracy": falling(0.1, 0.2)},
    ),
    "rate_too_high": ({"train_loss": jumping(0.5)}, {"train_loss": jumping(0.05)}),
    "rate_too_low": (
        {"train_loss": np.linspace(2.3, 1.9, N).tolist(), "train_accuracy": falling(0.1, 0.2)},
        {"train_loss": falling(2.3, 1.9), "train_accuracy": falling(0.1, 0.3)},
    ),
    "leak": ({"watch_val_seen": [0.2] * N}, {"watch_val_seen": [0.2, *[0.05] * (N - 1)]}),
    "inputs_unscaled": ({"watch_input_scale": [50.0] * N}, {"watch_input_scale": [9.0] * N}),
    "inputs_shifted": ({"watch_input_shift": [1.2] * N}, {"watch_input_shift": [0.9] * N}),
    "loss_beside_accuracy": ({"train_loss": falling(2.2, 1.5)}, {"train_loss": falling(2.2, 0.3)}),
    "dead_units": ({"watch_dead_units": [0.5] * N}, {"watch_dead_units": [0.35] * N}),
    "update_ratio": ({"watch_update_ratio": [0.05] * N}, {"watch_update_ratio": [0.1, *[0.02] * (N - 1)]}),
    "overfit": (
        {"val_loss": with_rise(0.1, last=4)},
        {"val_loss": with_rise(0.04, last=4)},
    ),
    "no_gap": ({"train_eval_loss": falling(2.2, 0.249)}, {"train_eval_loss": falling(2.2, 0.24)}),
    "validation_below_training": (
        {"val_loss": falling(2.0, 0.15), "val_accuracy": falling(0.3, 0.99), "train_loss": falling(2.2, 0.3)},
        {"val_loss": falling(2.0, 0.295), "val_accuracy": falling(0.3, 0.95), "train_loss": falling(2.2, 0.3)},
    ),
    "dropout_in_validation": (
        {"val_loss": falling(2.2, 0.5), "train_loss": falling(2.2, 0.5), "params": {"dropout": 0.5}},
        {"val_loss": falling(2.0, 0.4), "train_loss": falling(2.2, 0.5), "params": {"dropout": 0.5}},
    ),
    "underfit": (
        {
            **{"train_loss": falling(2.3, 1.9, rate=1), "val_loss": falling(2.2, 1.95, rate=1)},
            **{"train_accuracy": falling(0.1, 0.3), "val_accuracy": falling(0.1, 0.3)},
        },
        {
            **{"train_loss": falling(2.3, 1.6, rate=1), "val_loss": falling(2.2, 1.65, rate=1)},
            **{"train_accuracy": falling(0.1, 0.4), "val_accuracy": falling(0.1, 0.4)},
        },
    ),
    "noisy_validation": (
        {"val_loss": [value * (1.6 if i % 2 else 0.7) for i, value in enumerate(falling(2.0, 0.5))]},
        {"val_loss": [value * (1.05 if i % 2 else 0.95) for i, value in enumerate(falling(2.0, 0.5))]},
    ),
    "plateau": (
        {"train_loss": [*falling(2.2, 0.9, n=8), *[0.9] * 12]},
        {"train_loss": np.linspace(2.2, 0.9, N).tolist()},
    ),
    "budget_too_short": (
        {"val_accuracy": np.linspace(0.3, 0.9, N).tolist()},
        {"val_accuracy": falling(0.3, 0.9, rate=1)},
    ),
    "budget_too_long": (
        {"val_accuracy": [0.5, 0.9, *[0.8] * (N - 2)]},
        {"val_accuracy": [0.5, 0.7, 0.8, 0.9, *[0.8] * (N - 4)]},
    ),
    "miscalibrated": ({"val_ece": [0.12] * N}, {"val_ece": [0.08] * N}),
}


@pytest.mark.parametrize("code", FIRES)
def test_a_rule_fires_on_its_fault_and_not_on_the_near_miss(code: str) -> None:
    sick, near = FIRES[code]
    assert code in findings_by_code(curve(**sick))
    assert code not in findings_by_code(curve(**near))


def test_a_healthy_training_has_no_finding() -> None:
    assert findings_by_code(curve()) == {}


def test_every_rule_is_tested_and_has_a_source_and_a_remedy() -> None:
    assert {row.code for row in TRIAL_RULES} == {*FIRES, "layers_apart"}
    for sick, _ in FIRES.values():
        for finding in trial_findings(curve(**sick)):
            assert finding.sentence.endswith(".")
            assert finding.remedy.endswith(".")
            assert finding.source.endswith(".")
            assert finding.evidence


def test_layers_that_never_change_are_named_and_layers_far_apart_too() -> None:
    watched = replace(curve(), update_ratios={"body.weight": 0.0, "head.weight": 1e-3})
    assert "body.weight" in findings_by_code(watched)["layers_apart"].sentence
    apart = replace(curve(), update_ratios={"a": 1e-5, "b": 1.1e-3})
    assert findings_by_code(apart)["layers_apart"].evidence["n_still"] == 0
    assert findings_by_code(replace(curve(), update_ratios={"a": 1e-5, "b": 0.9e-3})) == {}


def test_overfitting_starts_at_the_step_of_the_lowest_validation_loss() -> None:
    values = [*falling(2.0, 0.5, n=6), *np.linspace(0.52, 0.9, 14).tolist()]
    assert findings_by_code(curve(val_loss=values))["overfit"].evidence["from_step"] == 5
    worse = curve(val_loss=values, train_loss=[*falling(2.2, 0.2, n=10), *[0.6] * 10])
    assert "overfit" not in findings_by_code(worse)  # training got worse as well


def test_dropout_excuses_a_validation_that_is_a_little_below_training() -> None:
    series: dict[str, Any] = {
        "val_loss": falling(1.8, 0.25),
        "val_accuracy": falling(0.3, 0.99),
        "train_loss": falling(2.2, 0.3),
    }
    alarm = findings_by_code(curve(**series))["validation_below_training"]
    excused = findings_by_code(curve(**series, params={"dropout": 0.5}))["validation_below_training"]
    assert (alarm.severity, excused.severity) == (Severity.WARNING, Severity.NOTE)
    assert "dropout" in excused.remedy


def test_equal_measurement_distinguishes_a_leak_from_dropout() -> None:
    series: dict[str, Any] = {
        "train_loss": falling(2.2, 0.3),
        "val_loss": falling(1.8, 0.06),
        "val_accuracy": falling(0.3, 0.99),
        "params": {"dropout": 0.5},
    }
    assert "validation_below_training" not in findings_by_code(curve(**series, train_eval_loss=falling(1.8, 0.04)))
    assert findings_by_code(curve(**series, train_eval_loss=falling(1.8, 0.055)))["no_gap"].severity is Severity.WARNING


def test_validation_as_good_as_training_is_no_warning_before_memorisation() -> None:
    series: dict[str, Any] = {"train_loss": falling(2.2, 0.6), "val_loss": falling(2.1, 0.4)}
    assert findings_by_code(curve(**series, train_eval_loss=falling(2.2, 0.42)))["no_gap"].severity is Severity.NOTE
    little: dict[str, Any] = {"train_loss": falling(2.2, 0.8), "val_loss": falling(2.1, 0.8)}
    assert "no_gap" not in findings_by_code(curve(**little, train_eval_loss=falling(2.2, 0.8)))


@pytest.mark.parametrize(("n", "severity"), [(8, Severity.NOTE), (12, Severity.WARNING)])
def test_jumps_among_few_evaluations_are_no_alarm(n: int, severity: Severity) -> None:
    jumps = [value * (1.6 if i % 2 else 0.7) for i, value in enumerate(falling(2.0, 0.5, n=n))]
    assert findings_by_code(curve(val_loss=jumps))["noisy_validation"].severity is severity


def test_a_rate_is_named_where_the_configuration_has_one() -> None:
    finding = findings_by_code(curve(train_loss=[2.0, 1.5, math.inf], params={"lr": 0.3}))["diverged"]
    assert finding.remedy.startswith("Lower lr from 0.3 to 0.03")


def test_a_loss_that_is_reported_for_each_batch_is_judged_as_one_for_each_epoch() -> None:
    generator = np.random.default_rng(0)
    each = falling(2.2, 0.2, n=4_000, rate=0.003) * np.exp(0.3 * generator.standard_normal(4_000))
    points = [(i, {"train_loss": float(value)}) for i, value in enumerate(each)]
    assert trial_findings(TrialCurve(points, metric="train_loss", maximised=False)) == []


def test_other_names_with_train_and_val_before_them_are_understood() -> None:
    points = [
        (i, {"train/nll": a, "val/nll": b})
        for i, (a, b) in enumerate(zip(falling(2.2, 0.1), with_rise(0.5, last=8), strict=True))
    ]
    found = TrialCurve(points, metric="val/nll", maximised=False)
    assert "overfit" in findings_by_code(found)
    keras = [(step, {"loss": metrics["train/nll"], "val_loss": metrics["val/nll"]}) for step, metrics in points]
    assert "overfit" in findings_by_code(TrialCurve(keras, metric="val_loss", maximised=False))


def test_missing_metrics_are_requested() -> None:
    assert lacking(curve()) == []
    assert "train_loss" in lacking(curve(train_loss=[], train_accuracy=[]))[0]
    assert "from 5 reports on" in lacking(replace(curve(), points=curve().points[:2]))[0]


def test_the_bound_on_a_sound_loss_is_fanos() -> None:
    assert fano_bound(1.0, 10) == 0.0
    assert fano_bound(0.1, 10) == pytest.approx(math.log(10))  # a guess
    assert fano_bound(0.5, 2) == pytest.approx(math.log(2))


def synthetic(kind: str, seed: int) -> TrialCurve:
    """A noisy curve of one of the five kinds, of random length."""
    generator = np.random.default_rng(seed)
    n = int(generator.integers(12, 60))
    noise = np.exp(0.01 * generator.standard_normal((2, n)))
    top = generator.uniform(0.7, 3.0)
    low = top * generator.uniform(0.05, 0.25)
    rate = generator.uniform(5, 10) / n
    train = np.array(falling(top, low, n=n, rate=rate))
    validation = np.array(falling(top * 0.95, low * 1.3, n=n, rate=rate))
    if kind == "underfit":
        high = top * generator.uniform(0.82, 0.92)
        train, validation = (np.array(falling(start, high, n=n, rate=2 * rate)) for start in (top, top * 0.98))
    elif kind == "overfit":
        turn = int(n * generator.uniform(0.2, 0.6))
        validation[turn:] = validation[turn] * (1 + generator.uniform(0.3, 1.5) * np.linspace(0, 1, n - turn))
    elif kind == "diverged":
        turn = int(n * generator.uniform(0.3, 0.8))
        train[turn:] = train[turn] * np.exp(np.linspace(0, generator.uniform(4, 8), n - turn))
    elif kind == "validation_below_training":
        validation = train * generator.uniform(0.5, 0.8)
    points = [
        (i, {"train_loss": a, "val_loss": b})
        for i, (a, b) in enumerate(zip(*(noise * [train, validation]), strict=True))
    ]
    return TrialCurve(points, metric="val_loss", maximised=False)


def label(of: TrialCurve) -> str:
    """Return the first warning of the five kinds, by severity."""
    alarms = {finding.code for finding in trial_findings(of) if is_alarm(finding)}
    order = ("diverged", "overfit", "validation_below_training", "underfit")
    return next((code for code in order if code in alarms), "healthy" if not alarms else "other")


def test_forty_synthetic_curves_are_labelled_as_they_were_made() -> None:
    kinds = ("healthy", "underfit", "overfit", "diverged", "validation_below_training")
    made = [(kind, synthetic(kind, 100 * i + seed)) for i, kind in enumerate(kinds) for seed in range(8)]
    wrong = [(kind, label(each)) for kind, each in made if label(each) != kind]
    assert len(made) == 40
    assert len(wrong) <= 2, wrong
