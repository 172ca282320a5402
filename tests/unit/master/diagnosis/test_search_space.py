"""Findings on a space before any trial."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.master.diagnosis.study_views import spec_of, study_view_of, with_edit

from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.search_space import adam_extras, few_trials, linear_scales
from tunefleet_master.diagnosis.study_view import StudyView


def view_of(space: dict[str, Any], **more: Any) -> StudyView:
    return study_view_of(spec_of(space, **more), lambda params: 0.0, [])


def only(found: list[Finding]) -> Finding:
    (finding,) = found
    return finding


@pytest.mark.parametrize(
    ("parameter", "severity"),
    [
        ({"float": [0.001, 0.1]}, Severity.WARNING),
        ({"int": [1, 1000]}, Severity.WARNING),
        ({"float": [0.01, 0.1]}, Severity.NOTE),
    ],
)
def test_a_positive_range_over_a_decade_belongs_on_a_log_scale(parameter: dict[str, Any], severity: Severity) -> None:
    view = view_of({"x": parameter, "on": ["a", "b"]})
    finding = only(list(linear_scales(view)))
    assert finding.severity is severity
    assert finding.edit == {"x": {**parameter, "log": True}}
    assert list(linear_scales(view_of(with_edit(view.spec, finding.edit).to_json()["space"]))) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "parameter",
    [
        {"log": [1e-5, 1]},
        {"float": [1e-5, 1], "log": True},
        {"int": [16, 256], "log": True},
        {"int": [1, 9]},
        {"float": [0, 0.9]},
        {"float": [-1, 100]},
        [1, 10, 100],
        {"fixed": 7},
    ],
)
def test_other_ranges_are_left_alone(parameter: Any) -> None:
    assert list(linear_scales(view_of({"x": parameter}))) == []


def test_the_edit_retains_a_condition() -> None:
    view = view_of({"on": ["a", "b"], "x": {"float": [0.001, 1], "when": "on == 'a'"}})
    assert only(list(linear_scales(view))).edit == {"x": {"float": [0.001, 1.0], "log": True, "when": "on == 'a'"}}


@pytest.mark.parametrize(
    ("name", "bounds", "n"),
    [
        ("beta2", [0.9, 0.999], 1),
        ("momentum", [0.0, 0.99], 1),
        ("momentum", [0.8, 0.95], 0),
        ("dropout", [0.5, 0.99], 0),
    ],
)
def test_ranges_close_to_one_are_searched_as_their_distance_from_one(name: str, bounds: list[float], n: int) -> None:
    found = list(linear_scales(view_of({name: {"float": bounds}})))
    assert len(found) == n
    assert all(finding.edit is None and f"1 - {name}" in finding.remedy for finding in found)


def test_a_budget_too_small_for_the_parameters_is_a_finding() -> None:
    space = {f"x{i}": {"float": [0, 1]} for i in range(5)} | {"still": {"fixed": 3}}
    finding = only(list(few_trials(view_of(space, budget={"trials": 15}))))
    assert finding.evidence == {"trials": 15, "parameters": 5, "needed": 40}
    assert finding.severity is Severity.WARNING
    assert list(few_trials(view_of(space, budget={"trials": 40}))) == []
    assert list(few_trials(view_of(space, budget={"hours": 1}))) == []


@pytest.mark.parametrize(
    ("n_trials", "fixed"),
    [(9, {"beta1": 0.9, "eps": 1e-8}), (10, {"eps": 1e-8}), (25, {"eps": 1e-8}), (26, {})],
)
def test_adam_is_tuned_as_the_playbook_recommends(n_trials: int, fixed: dict[str, float]) -> None:
    space = {"lr": {"log": [1e-5, 1]}, "beta1": {"float": [0.8, 0.99]}, "eps": {"log": [1e-9, 1]}}
    view = view_of(space, budget={"trials": n_trials})
    found = list(adam_extras(view))
    assert {name: {"fixed": value} for name, value in fixed.items()} == (found[0].edit if found else {})
    if found:
        assert list(adam_extras(view_of(with_edit(view.spec, found[0].edit).to_json()["space"]))) == []  # type: ignore[arg-type]
