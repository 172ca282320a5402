"""The review of a study before it runs."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.errors import InvalidInput, NotAvailableYet
from tunefleet.rules.code import wire_problems
from tunefleet.rules.review import review
from tunefleet.study.spec import StudySpec

TASK = {"task": "image_classification", "dataset": "digits"}


def spec(**changes: Any) -> StudySpec:
    data: dict[str, Any] = {
        "name": "s",
        "objective": {"metric": "val_accuracy", "goal": "maximize"},
        "run": TASK,
        "space": {"lr": {"log": [1e-4, 1e-1]}},
        "steps": 2,
        "budget": {"trials": 4},
    }
    return StudySpec.parse(data | changes)


def problems(**changes: Any) -> str:
    return "; ".join(map(str, review(spec(**changes)).problems))


def warnings(**changes: Any) -> str:
    return " ".join(review(spec(**changes)).warnings)


def command(text: str, **changes: Any) -> str:
    return problems(run={"command": text}, objective={"metric": "m", "goal": "minimize"}, **changes)


def test_a_valid_study_has_no_problems_or_warnings() -> None:
    found = review(spec())
    assert (found.problems, found.unavailable, found.warnings) == ((), (), ())
    found.refuse()


def test_an_unknown_task_is_named() -> None:
    assert "run.task = 'image_clasification'" in problems(run={"task": "image_clasification"})


def test_mismatches_with_a_task_are_named() -> None:
    assert "run.dataset" in problems(run={**TASK, "dataset": "cifar"})
    assert "space.learning_rate: the task has no such parameter" in problems(
        space={"lr": [0.1], "learning_rate": [0.1]}
    )
    assert "objective.metric" in problems(objective={"metric": "val_acc", "goal": "maximize"})


def test_a_built_in_task_needs_steps() -> None:
    assert problems(steps=None).startswith("steps: is required by a built-in task")


def test_a_command_may_name_parameters_and_have_other_braces() -> None:
    assert (
        command("python train.py --lr {lr} --json '{\"a\": 1}' {} ${HOME}x")
        == "run.command: {HOME} is not a parameter of the space; known are: lr"
    )
    assert command("python train.py --lr={lr} {} {0} '{a b}'") == ""


def test_a_command_that_names_an_unknown_parameter_is_refused_with_the_likely_one() -> None:
    space = {"momentum": {"float": [0, 1]}}
    assert (
        command("x {momentun}", space=space)
        == "run.command: {momentun} is not a parameter of the space; did you mean 'momentum'?"
    )


def test_a_conditional_parameter_as_a_whole_word_is_refused_with_the_reason() -> None:
    space = {"optimizer": ["sgd", "adam"], "momentum": {"float": [0, 1], "when": "optimizer == 'sgd'"}}
    assert "write --momentum={momentum}" in command("x --momentum {momentum}", space=space)
    assert command("x --momentum={momentum} {optimizer}", space=space) == ""


@pytest.mark.parametrize("text", ["python 'x", "   "])
def test_an_invalid_command_is_refused(text: str) -> None:
    assert command(text).startswith("run.command")


def test_a_grid_with_too_many_points_is_refused() -> None:
    space = {"lr": {"log": [1e-4, 1], "points": 1001}, "weight_decay": {"float": [0, 1], "points": 1000}}
    assert "the grid has 1,001,000 points" in problems(space=space, search={"sampler": "grid"})
    assert problems(space=space, search={"sampler": "random"}) == ""


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"finalists": {}}, "finalists"),
        ({"ensemble": {}}, "ensemble"),
    ],
)
def test_unavailable_parts_raise_not_available_yet(changes: dict[str, Any], field: str) -> None:
    found = review(spec(**changes))
    assert [problem.field for problem in found.unavailable] == [field]
    with pytest.raises(NotAvailableYet, match="not available yet"):
        found.refuse()


@pytest.mark.parametrize("sampler", ["auto", "grid", "random", "sobol", "tpe", "gp", "forest", "cmaes"])
def test_the_samplers_of_this_version_are_available(sampler: str) -> None:
    assert review(spec(search={"sampler": sampler})).unavailable == ()


def test_broken_rules_take_precedence_over_unavailable_parts() -> None:
    with pytest.raises(InvalidInput) as caught:
        review(spec(steps=None, ensemble={})).refuse()
    assert not isinstance(caught.value, NotAvailableYet)
    assert len(caught.value.problems) == 2


def test_a_budget_beyond_the_space_gives_a_warning() -> None:
    assert "the space has at most 2 configurations" in warnings(space={"lr": [0.1, 0.2]})
    assert "the grid has up to 5 points" in warnings(search={"sampler": "grid"})
    assert "at most 5" in warnings(search={"sampler": "grid"}, budget={"trials": 9})


def test_a_study_without_an_end_gives_a_warning() -> None:
    assert "runs until it is stopped" in warnings(budget={})
    assert warnings(budget={}, search={"sampler": "grid"}) == ""


def test_a_condition_that_is_never_true_gives_a_warning() -> None:
    space = {
        "lr": [0.1, 0.2, 0.3, 0.4],
        "optimizer": ["sgd", "adam"],
        "momentum": {"float": [0, 0.9], "when": "optimizer == 'SGD'"},
    }
    assert "space.momentum was active in none" in warnings(space=space)


def test_constraints_that_exclude_nearly_everything_give_a_warning() -> None:
    assert "constraints allowed 0 of 1,000" in warnings(constraints=["lr > 1"])


def test_a_folder_is_refused_on_the_wire() -> None:
    run = {"function": "train:train", "code": "."}
    assert "tunefleet submit" in str(wire_problems(spec(run=run))[0])
    assert wire_problems(spec(run={**run, "code": f"sha256:{'0' * 64}"})) == []
    assert wire_problems(spec()) == []
