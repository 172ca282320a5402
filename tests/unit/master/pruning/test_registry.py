"""The selection of a study's pruner."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.catalogue.pruners import PRUNERS
from tunefleet.study.spec import StudySpec
from tunefleet_master.pruning.pruner import Action, RungArrival
from tunefleet_master.pruning.registry import build, pruner_class


def spec_of(pruning: dict[str, Any], **changes: Any) -> StudySpec:
    data: dict[str, Any] = {
        "name": "s",
        "objective": {"metric": "accuracy", "goal": "maximize"},
        "run": {"function": "a:b"},
        "space": {"lr": {"log": [1e-4, 1]}},
        "steps": 9,
        "pruning": pruning,
    }
    return StudySpec.parse({**data, **changes})


def test_a_study_without_a_pruner_has_none() -> None:
    assert build(spec_of({})) is None
    assert build(spec_of({"pruner": "none"})) is None


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_a_pruner_is_built_by_its_name(name: str) -> None:
    assert isinstance(build(spec_of({"pruner": name})), pruner_class(name))


def test_what_is_maximised_is_shown_as_the_user_reported_it() -> None:
    pruner = build(spec_of({"pruner": "threshold", "upper": 1.0}))
    assert pruner is not None
    arrival = RungArrival(trial=0, rung=3, value=-0.75, latest=-0.75)
    assert pruner.decide(pruner.new_table(), arrival).message.startswith("0.75 after 3 steps")


@pytest.mark.parametrize(("steps", "last"), [(None, 9), (3, 3)])
def test_a_stage_has_steps_of_its_own(steps: int | None, last: int) -> None:
    pruner = build(spec_of({"pruner": "asha"}), steps=steps)
    assert pruner is not None
    arrival = RungArrival(trial=0, rung=last, value=0.5, latest=0.5)
    decision = pruner.decide(pruner.new_table(), arrival)
    assert (decision.action, decision.message) == (Action.CONTINUE, f"it has run all of its {last} steps")
