"""The complete diagnosis, and its unknown quantities."""

from __future__ import annotations

import math
from typing import Any

from tests.unit.master.diagnosis.study_views import random_study_view, spec_of

from tunefleet_master.diagnosis.insight import insight
from tunefleet_master.diagnosis.study_view import StudyView
from tunefleet_master.search.history import Change, History, Outcome

SPACE: dict[str, Any] = {"lr": {"log": [1e-5, 1e-1]}, "width": {"int": [8, 512], "log": True}}


def loss(params: dict[str, Any]) -> float:
    return float((math.log10(params["lr"]) + 3) ** 2 / 8 + (math.log2(params["width"] / 64) / 4) ** 2)


def view(n: int, *, n_more: int | None = None, **changes: Any) -> StudyView:
    spec = spec_of(SPACE, **changes)
    return StudyView(random_study_view(spec, loss, n).history, spec, n_more)


def test_a_study_with_many_trials_leaves_nothing_unknown() -> None:
    found = insight(view(60, budget={"trials": 100}))
    assert found.unknown == []
    assert found.importance is not None
    assert {effect.parameter for effect in found.importance.effects} == {"lr", "width"}
    assert found.expected_gain is not None
    assert found.expected_gain.n_more == 40


def test_unknown_quantities_are_listed_with_what_they_require() -> None:
    found = insight(view(5, budget={"trials": 100}))
    assert (found.importance, found.expected_gain) == (None, None)
    assert found.unknown == [
        "The importance of parameters is unknown until 40 trials have a result; so far 5 have one.",
        "The gain of the 95 trials to come is unknown until there are 20 trials, more than 10 of them with a result; "
        "so far there are 5, 5 of them with a result.",
    ]


def test_the_gain_is_unknown_without_a_number_of_trials() -> None:
    assert insight(view(60)).unknown == [
        "The gain of more trials is unknown: budget.trials does not limit their number."
    ]


def test_a_finished_study_has_no_unknown_quantities() -> None:
    found = insight(view(60, n_more=0))
    assert (found.expected_gain, found.unknown) == (None, [])
    assert "not_worth_going_on" not in [finding.code for finding in found.findings]


def test_the_number_of_trials_to_come_overrides_the_budget() -> None:
    found = insight(view(60, n_more=5, budget={"trials": 1_000}))
    assert found.expected_gain is not None
    assert found.expected_gain.n_more == 5


def test_the_gain_of_a_study_with_stages_is_that_of_its_last_stage() -> None:
    spec = spec_of({"x": {"float": [0, 1]}}, budget={"trials": 100})
    history = History(spec.search_space, stages=[50])
    for i in range(69):
        # What the short trials reached is much better, and says nothing of the long ones.
        value = -100.0 if i < 50 else 1 + i / 100
        history.fold([Change(i, Outcome.COMPLETE, params={"x": i / 100}, values=(value,), steps=1)])
    found = insight(StudyView(history, spec, 31))
    assert found.expected_gain is None
    assert "20 trials of the last stage" in found.unknown[-1]
    history.fold([Change(69, Outcome.COMPLETE, params={"x": 0.69}, values=(2.0,), steps=1)])
    found = insight(StudyView(history, spec, 30))
    assert found.expected_gain is not None
    assert (found.expected_gain.n_trials, found.expected_gain.best) == (20, 1.5)
