"""Rules for population-based training."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.rules.review import review
from tunefleet.study.spec import StudySpec

PBT = {"sampler": "pbt", "population": 8, "interval": 4}


def spec_of(**changes: Any) -> StudySpec:
    spec = {
        "name": "s",
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"function": "train:train"},
        "space": {"lr": {"log": [1e-4, 1e-1]}},
        "steps": 40,
        "search": PBT,
    }
    return StudySpec.parse({**spec, **changes})


def test_a_valid_population_has_no_problems_and_an_end() -> None:
    found = review(spec_of())
    assert (found.problems, found.unavailable, found.warnings) == ((), (), ())


def test_members_may_outnumber_the_configurations() -> None:
    assert review(spec_of(space={"lr": [0.1, 0.01]})).warnings == ()


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"steps": None}, "steps", "such as `steps: 40`"),
        ({"search": {"sampler": "pbt"}}, "search.interval", "such as `interval: 4`"),
        ({"search": {**PBT, "interval": 40}}, "search.interval", "must be below the 40 steps"),
        ({"search": {**PBT, "interval": 50}}, "search.interval", "must be below the 40 steps"),
        ({"search": {**PBT, "population": 3}}, "search.population", "must be at least 4"),
        ({"budget": {"trials": 79}}, "budget.trials", "8 members with 10 trials each); set it to at least 80"),
        ({"search": {**PBT, "interval": 7}, "budget": {"trials": 47}}, "budget.trials", "needs 48"),
        ({"run": {"command": "train {lr}"}}, "run.command", "run a function"),
        ({"pruning": {"pruner": "asha"}}, "pruning.pruner", "leave `pruning` out"),
        ({"search": {"sampler": "tpe", "population": 8}}, "search.population", "is read by pbt only"),
        ({"search": {"sampler": "random", "interval": 4}}, "search.interval", "leave it out, or set `pbt`"),
    ],
)
def test_keys_that_a_population_rules_out_are_refused_with_the_remedy(
    changes: dict[str, Any], field: str, says: str
) -> None:
    [problem] = review(spec_of(**changes)).problems
    assert problem.field == field
    assert says in problem.rule


def test_stages_are_refused() -> None:
    stages = [{"trials": 40, "steps": 4}, {"trials": 40, "steps": 40}]
    assert "stages" in {problem.field for problem in review(spec_of(stages=stages)).problems}


def test_parameters_that_shape_the_weights_of_a_built_in_task_must_be_fixed() -> None:
    space = {
        "lr": {"log": [1e-4, 1e-1]},
        "dropout": {"float": [0, 0.5]},
        "batch_size": {"int": [16, 256], "log": True},
        "width": {"int": [8, 64]},
        "optimizer": ["sgd", "adamw"],
        "depth": {"fixed": 3},
        "model": ["cnn"],
    }
    task = {"task": "image_classification", "dataset": "digits"}
    objective = {"metric": "val_loss", "goal": "minimize"}
    found = review(spec_of(run=task, space=space, objective=objective)).problems
    assert [problem.field for problem in found] == ["space.width", "space.optimizer"]
    assert "width: {fixed: 32}" in found[0].rule
