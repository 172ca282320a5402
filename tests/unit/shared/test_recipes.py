"""Recipes as configurations: names, the values of other parameters, and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from tunefleet.catalogue.recipes import RECIPES, find
from tunefleet.catalogue.tasks import TASKS
from tunefleet.cli.main import app
from tunefleet.errors import InvalidInput, NotFound
from tunefleet.rules.review import review
from tunefleet.study.recipes import ALIASES, starts
from tunefleet.study.spec import StudySpec


def spec_of(*recipes: str, **changes: Any) -> StudySpec:
    study = {
        "name": "study",
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"function": "train:train"},
        "space": {"lr": {"log": [1e-4, 1.0]}, "optimizer": ["sgd", "adam"], "depth": {"int": [1, 9]}},
        "search": {"start_from": list(recipes)},
    }
    return StudySpec.parse({**study, **changes})


def rules(*recipes: str, **changes: Any) -> list[str]:
    with pytest.raises(InvalidInput) as refused:
        review(spec_of(*recipes, **changes)).refuse()
    assert "search.start_from" in {problem.field for problem in refused.value.problems}
    return [problem.rule for problem in refused.value.problems]


def test_the_lectures_recipe_is_among_them_and_every_one_names_its_source() -> None:
    resnet = RECIPES["resnet-imagenet"]
    assert {
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "batch_size": 256,
        "dropout": 0.0,
    }.items() <= (resnet.params.items())
    assert len(RECIPES) >= 15
    for recipe in RECIPES.values():
        assert recipe.params
        assert "https://" in recipe.source
        assert len(f"recipe {recipe.name}") <= 32, "the origin of a trial has so many characters"
    assert len({recipe.name for recipe in RECIPES.values()}) == len(RECIPES)


def test_values_of_recipes_are_such_as_the_built_in_tasks_take() -> None:
    taken = {name: parameter for task in TASKS.values() for name, parameter in task.parameters.items()}
    for recipe in RECIPES.values():
        broken = {name: taken[name].broken_rule(value) for name, value in recipe.params.items() if name in taken}
        known = set(taken["optimizer"].choices)
        if recipe.params.get("optimizer") not in known:
            broken.pop("optimizer", None)
        assert not any(broken.values()), (recipe.name, broken)
    assert not {alias for aliases in ALIASES.values() for alias in aliases} & ALIASES.keys()


def test_a_recipe_sets_its_parameters_and_the_middle_of_all_others() -> None:
    [start] = starts(spec_of("resnet-imagenet"))
    assert start.params == {"lr": 0.1, "optimizer": "sgd", "depth": 5}
    assert start.given == ("optimizer", "lr")


def test_a_built_in_tasks_default_takes_precedence_over_the_middle() -> None:
    run = {"task": "image_classification", "dataset": "digits"}
    space = {"lr": {"log": [1e-4, 1.0]}, "optimizer": ["sgd", "adam"], "depth": {"int": [1, 9]}, "width": [8, 16]}
    [start] = starts(spec_of("karpathy", run=run, space=space))
    assert start.params == {"lr": 3e-4, "optimizer": "adam", "depth": 3, "width": 16}


def test_a_space_may_have_other_names_capitals_and_whole_numbers() -> None:
    space = {"learning_rate": {"log": [0.01, 10]}, "optim": ["SGD", "Adam"], "wd": [0, 1e-4], "bs": [128, 256]}
    [start] = starts(spec_of("resnet-imagenet", space=space))
    assert start.params == {"learning_rate": 0.1, "optim": "SGD", "wd": 1e-4, "bs": 256}


def test_a_parameter_that_is_inactive_with_the_recipe_is_left_out() -> None:
    space = {
        "lr": {"log": [1e-4, 1.0]},
        "optimizer": ["sgd", "adam"],
        "momentum": {"float": [0, 0.99], "when": "optimizer == 'sgd'"},
        "beta2": {"float": [0.9, 0.9999], "when": "optimizer == 'adam'"},
    }
    resnet, karpathy = starts(spec_of("resnet-imagenet", "karpathy", space=space))
    assert resnet.params == {"lr": 0.1, "optimizer": "sgd", "momentum": 0.9}
    assert karpathy.params == {"lr": 3e-4, "optimizer": "adam", "beta2": pytest.approx(0.94995)}


def test_recipes_that_are_equal_in_the_space_are_one_configuration() -> None:
    space = {"lr": {"log": [1e-4, 1.0]}, "optimizer": ["sgd"]}
    assert [start.recipe for start in starts(spec_of("resnet-cifar", "resnet-imagenet", space=space))] == [
        "resnet-cifar"
    ]


def test_one_recipe_may_be_written_without_a_list() -> None:
    assert spec_of(search={"start_from": "karpathy"}).search.start_from == ("karpathy",)


@pytest.mark.parametrize(
    ("recipe", "changes", "rule"),
    [
        ("resnet-imagnet", {}, "did you mean 'resnet-imagenet'?"),
        ("resnet-imagenet", {"space": {"lr": {"log": [1e-5, 1e-2]}}}, "lr = 0.1, which is not in log [1e-05, 0.01]"),
        ("karpathy", {"space": {"lr": {"log": [1e-5, 1]}, "optimizer": ["sgd"]}}, "optimizer = 'adam', which"),
        ("resnet-imagenet", {"space": {"x": {"log": [1e-5, 1e-2]}}}, "shares no parameter with the space"),
        ("resnet-imagenet", {"constraints": ["lr < 0.05"]}, "breaks a constraint"),
        ("resnet-imagenet", {"search": {"start_from": ["resnet-imagenet"], "sampler": "pbt"}, "steps": 10}, "pbt"),
    ],
)  # fmt: skip
def test_a_recipe_that_does_not_fit_the_study_is_refused_at_submission(recipe: str, changes: Any, rule: str) -> None:
    assert any(rule in found for found in rules(recipe, **changes))


def test_a_rate_for_one_optimizer_is_refused_where_the_task_uses_another() -> None:
    run = {"task": "image_classification", "dataset": "digits"}
    changes: dict[str, Any] = {"run": run, "steps": 5, "objective": {"metric": "val_loss", "goal": "minimize"}}
    [rule] = rules("resnet-imagenet", space={"lr": {"log": [1e-4, 1.0]}}, **changes)
    assert "the task trains with adamw" in rule
    assert "optimizer: {fixed: sgd}" in rule
    space = {"lr": {"log": [1e-4, 1.0]}, "optimizer": {"fixed": "sgd"}}
    review(spec_of("resnet-imagenet", space=space, **changes)).refuse()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"budget": {"trials": 1}}, "has 2 recipes, but the budget has 1 trials"),
        ({"stages": [{"trials": 1, "steps": 1}, {"trials": 9, "steps": 2}]}, "the first stage has 1 trials"),
    ],
)
def test_recipes_must_fit_into_the_budget(changes: Any, rule: str) -> None:
    assert any(rule in found for found in rules("karpathy", "adam-defaults", **changes))


def test_the_command_lists_them_and_shows_one() -> None:
    run = CliRunner().invoke
    listed = json.loads(run(app, ["recipes", "--json"]).stdout)
    assert [recipe["name"] for recipe in listed] == list(RECIPES)
    table = run(app, ["recipes"]).stdout
    assert all(name in table for name in RECIPES)
    shown = run(app, ["recipes", "resnet-imagenet"]).stdout
    assert "https://arxiv.org/abs/1512.03385" in shown
    assert "start_from: [resnet-imagenet]" in shown
    assert json.loads(run(app, ["recipes", "muon", "--json"]).stdout)["params"]["lr"] == 0.02


def test_an_unknown_recipe_is_reported_with_the_likely_one() -> None:
    with pytest.raises(NotFound, match="no recipe 'resnet'; did you mean 'resnet-"):
        find("resnet")
    command = [sys.executable, "-m", "tunefleet", "recipes", "resnet"]
    wrong = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (wrong.returncode, wrong.stderr[:26]) == (2, "error: there is no recipe ")
