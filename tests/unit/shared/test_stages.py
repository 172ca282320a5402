from __future__ import annotations

from typing import Any

import pytest

from tunefleet.rules.stages import stage_problems
from tunefleet.study.spec import StudySpec
from tunefleet.study.stages import ends, n_trials, planned, stage_of, steps_of

TWO = [{"trials": 6, "steps": 2}, {"trials": 3, "steps": 9, "keep": 0.5}]


def spec_of(**changes: Any) -> StudySpec:
    data: dict[str, Any] = {
        "name": "study",
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"function": "train:train"},
        "space": {"lr": {"log": [1e-5, 1]}},
        "stages": TWO,
    }
    return StudySpec.parse({**data, **changes})


def problems(**changes: Any) -> list[str]:
    return [str(problem) for problem in stage_problems(spec_of(**changes))]


def test_trials_belong_to_stages_by_their_numbers_and_those_beyond_the_plan_to_the_last() -> None:
    spec = spec_of()
    assert [stage_of(spec, number) for number in (0, 5, 6, 8, 9, 100)] == [0, 0, 1, 1, 1, 1]
    assert [steps_of(spec, number) for number in (0, 5, 6, 100)] == [2, 2, 9, 9]
    assert list(ends(spec)) == [6, 9]


def test_without_stages_every_trial_runs_the_steps_of_the_study() -> None:
    spec = spec_of(stages=[], steps=7)
    assert (stage_of(spec, 50), steps_of(spec, 50), n_trials(spec)) == (0, 7, None)
    assert steps_of(spec_of(stages=[]), 0) is None


def test_the_stages_are_the_budget_unless_it_is_given() -> None:
    assert n_trials(spec_of()) == 9
    assert n_trials(spec_of(budget={"trials": 20})) == 20


def test_auto_spends_the_budget_on_stages_of_equal_work_the_last_of_them_in_full() -> None:
    found = planned(spec_of(stages="auto", steps=27, budget={"trials": 90}))
    assert [(stage.trials, stage.steps) for stage in found] == [(66, 3), (18, 9), (6, 27)]
    assert len(planned(spec_of(stages="auto", steps=27, budget={"trials": 40}))) == 2
    assert len(planned(spec_of(stages="auto", steps=4, budget={"trials": 900}))) == 2


@pytest.mark.parametrize(("trials", "steps"), [(19, 27), (900, 2)])
def test_auto_plans_no_stages_for_a_small_budget(trials: int, steps: int) -> None:
    assert planned(spec_of(stages="auto", steps=steps, budget={"trials": trials})) == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": {"trials": 8}}, "stages: have 9 trials together, and `budget.trials` is 8"),
        ({"stages": TWO[::-1]}, "stages[1].steps = 2: is below the 9 of the stage before"),
        ({"steps": 5}, "stages[1].steps = 9: is above the study's `steps`, which is 5"),
        ({"search": {"sampler": "grid"}}, "stages: cannot be searched by a grid"),
        ({"stages": "auto", "steps": 9}, "budget.trials: is required by `stages: auto`"),
        ({"stages": "auto", "budget": {"trials": 90}}, "steps: is required by `stages: auto`"),
    ],
)
def test_an_invalid_plan_is_refused_with_the_remedy(changes: dict[str, Any], message: str) -> None:
    [found] = problems(**changes)
    assert found.startswith(message)


def test_valid_plans_have_no_problems() -> None:
    assert problems() == problems(steps=9, budget={"trials": 9}) == problems(stages=[]) == []
