"""The rules on studies together."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
from tests.unit.master.diagnosis.study_views import random_study_view, spec_of, study_view_of, with_edit

from tunefleet.study.space import Configuration
from tunefleet_master.diagnosis.finding import Severity
from tunefleet_master.diagnosis.negligible_parameters import negligible_parameters
from tunefleet_master.diagnosis.study_findings import STUDY_RULES, study_findings
from tunefleet_master.search.history import Change, History, Outcome

GOOD: dict[str, Any] = {"lr": {"log": [1e-5, 1e-1]}, "width": {"int": [8, 512], "log": True}, "act": ["relu", "gelu"]}


def good_loss(params: dict[str, Any]) -> float:
    width = math.log2(params["width"] / 64) / 4
    return float((math.log10(params["lr"]) + 3) ** 2 / 8 + width**2 + (0.3 if params["act"] == "relu" else 0))


def test_a_healthy_study_has_no_findings() -> None:
    spec = spec_of(GOOD, budget={"trials": 100})
    assert [finding.code for finding in study_findings(random_study_view(spec, good_loss, 60).history, spec)] == []


def test_an_empty_study_is_judged_by_its_space_alone() -> None:
    spec = spec_of({"lr": {"float": [1e-5, 1]}, "x": {"float": [0, 1]}}, budget={"trials": 5})
    assert [finding.code for finding in study_findings(History(spec.search_space), spec)] == [
        "few_trials",
        "linear_scale",
    ]


def test_findings_of_a_faulty_study_start_with_the_most_severe_and_every_edit_applies() -> None:
    spec = spec_of(
        {**GOOD, "beta1": {"float": [0.8, 0.99]}, "idle": {"float": [1, 200]}},
        budget={"trials": 80},
    )
    noise = np.random.default_rng(0)

    def loss(params: dict[str, Any]) -> float:
        if params["lr"] > 3e-3:
            return math.inf
        return float(-math.log10(params["lr"]) - 0.3 * math.log2(params["width"]) + 0.05 * noise.standard_normal())

    found = study_findings(random_study_view(spec, loss, 79).history, spec)
    codes = [finding.code for finding in found]
    assert {"many_failures", "failing_region", "edge", "rate_at_the_edge", "linear_scale", "no_effect"} <= set(codes)
    ranks = [finding.severity.rank for finding in found]
    assert ranks == sorted(ranks)
    gravest = {code: row.severity.rank for row in STUDY_RULES for code in row.codes}
    assert [finding.code for finding in found if finding.severity.rank < gravest[finding.code]] == []
    for finding in found:
        assert finding.sentence.endswith(".")
        assert finding.remedy.endswith(".")
        assert finding.source
        json.dumps(asdict(finding), allow_nan=False)
        if finding.edit is not None:
            with_edit(spec, finding.edit)


def test_a_parameter_without_effect_is_fixed_at_the_value_of_the_best_trial() -> None:
    spec = spec_of({**GOOD, "idle": {"int": [1, 8]}})
    view = random_study_view(spec, good_loss, 150)
    (finding,) = negligible_parameters(view)
    best = view.history.axes.configuration(view.observations.points[view.order[0]])
    assert finding.edit == {"idle": {"fixed": best["idle"]}}
    assert list(negligible_parameters(random_study_view(spec, good_loss, 39))) == []


def test_a_rarely_active_parameter_is_not_reported_as_without_effect() -> None:
    spec = spec_of({**GOOD, "extra": {"float": [0, 1], "when": "width > 500"}})
    assert list(negligible_parameters(random_study_view(spec, good_loss, 150))) == []


def test_trials_with_unknown_outcome_break_no_rule() -> None:
    spec = spec_of(GOOD, budget={"trials": 100})
    view = study_view_of(spec, good_loss, [])
    params: Configuration = {"lr": 1e-3, "width": 64, "act": "relu"}
    view.history.fold(Change(i, Outcome.UNKNOWN, params=params) for i in range(30))
    view.history.fold(Change(i, Outcome.INFEASIBLE, params=params) for i in range(30, 60))
    view.history.fold([Change(60, Outcome.PENDING, params=params)])
    assert [finding.code for finding in study_findings(view.history, spec)] == ["many_failures"]


def test_trials_that_are_stopped_at_rungs_are_judged_by_their_ranks() -> None:
    spec = spec_of(GOOD)
    history = random_study_view(spec, good_loss, 60).history
    for i in range(60):
        history.fold([Change(i, Outcome.PENDING, values=(float(history.values[i, 0]),), rung=1)])
    assert study_findings(history, spec) == []


def test_rules_have_names_and_severities_an_order() -> None:
    assert len({row.rule for row in STUDY_RULES}) == len(STUDY_RULES)
    assert sorted(Severity, key=lambda severity: severity.rank) == [Severity.BLOCKER, Severity.WARNING, Severity.NOTE]
