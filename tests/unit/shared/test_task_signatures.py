"""A study that does not fit its built-in task is refused with all mismatches."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tunefleet.rules.tasks import task_problems
from tunefleet.study.spec import StudySpec


def study(**changes: Any) -> StudySpec:
    plain = {
        "name": "digits",
        "objective": {"metric": "val_accuracy", "goal": "maximize"},
        "run": {"task": "image_classification", "dataset": "digits"},
        "space": {"lr": {"log": [1e-4, 1e-1]}},
        "steps": 8,
    }
    return StudySpec.parse({**plain, **changes})


def problems(**changes: Any) -> list[str]:
    return [str(problem) for problem in task_problems(study(**changes))]


def test_study_that_fits_has_no_problems() -> None:
    space = {
        "lr": {"log": [1e-4, 1e-1]},
        "batch_size": {"int": [16, 256], "log": True},
        "optimizer": ["sgd", "adam"],
        "momentum": {"float": [0.0, 0.99], "when": "optimizer == 'sgd'"},
        "depth": {"fixed": 2},
        "width": [16, 32],
    }
    assert problems(space=space) == []


def test_a_users_own_code_is_not_checked() -> None:
    assert problems(run={"function": "train:train"}, space={"anything": [1, 2]}) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"run": {"task": "image_clasification", "dataset": "digits"}},
            "run.task = 'image_clasification': there is no such task; did you mean 'image_classification'?",
        ),
        (
            {"run": {"task": "image_classification"}},
            "run.dataset: is required by the task; one of digits, mnist1d, fashion_mnist, wine, breast_cancer",
        ),
        (
            {"run": {"task": "image_classification", "dataset": "mnist"}},
            "run.dataset = 'mnist': the task offers digits, mnist1d, fashion_mnist, wine, breast_cancer",
        ),
        (
            {"run": {"task": "image_classification", "dataset": "digits", "foldr": "/data"}},
            "run.foldr: the task has no such option; did you mean 'folder'?",
        ),
        (
            {"run": {"task": "image_classification", "dataset": "digits", "folder": 3}},
            "run.folder = 3: must be text",
        ),
        (
            {"objective": {"metric": "val_acuracy", "goal": "maximize"}},
            "objective.metric = 'val_acuracy': the task does not report this metric; did you mean 'val_accuracy'?",
        ),
    ],
)
def test_run_and_objective_that_do_not_fit_are_named(changes: dict[str, Any], problem: str) -> None:
    assert problems(**changes) == [problem]


@pytest.mark.parametrize(
    ("space", "problem"),
    [
        ({"width": [16]}, "space.lr: is required by the task"),
        (
            {"lr": {"log": [1e-4, 1e-1], "when": "width == 16"}, "width": [16]},
            "space.lr.when: the task requires this parameter in every configuration; leave the condition out",
        ),
        (
            {"lr": {"log": [1e-4, 1e-1]}, "batchsize": {"int": [16, 32]}},
            "space.batchsize: the task has no such parameter; did you mean 'batch_size'?",
        ),
        (
            {"lr": {"float": [0.0, 0.1]}},
            "space.lr = 0.0: the task takes values above 0",
        ),
        (
            {"lr": ["fast"]},
            "space.lr = 'fast': the task takes a number here",
        ),
        (
            {"lr": {"fixed": 0.1}, "batch_size": {"float": [16, 256]}},
            "space.batch_size = 16.0: the task takes whole numbers here; write {int: [low, high]}",
        ),
        (
            {"lr": {"fixed": 0.1}, "depth": {"int": [1, 65]}},
            "space.depth = 65: the task takes values at most 64",
        ),
        (
            {"lr": {"fixed": 0.1}, "batch_size": {"int": [1, 8]}},
            "space.batch_size = 1: the task takes values at least 2",
        ),
        (
            {"lr": {"fixed": 0.1}, "dropout": {"float": [0.0, 1.0]}},
            "space.dropout = 1.0: the task takes values below 1",
        ),
        (
            {"lr": {"fixed": 0.1}, "optimizer": ["adam", "lion"]},
            "space.optimizer = 'lion': the task offers sgd, adam, adamw, rmsprop, nadam, radam, adagrad, adadelta, "
            "asgd, muon",
        ),
        (
            {"lr": {"fixed": 0.1}, "width": [True]},
            "space.width = True: the task takes a number here",
        ),
    ],
)
def test_space_that_does_not_fit_is_named(space: dict[str, Any], problem: str) -> None:
    assert problems(space=space) == [problem]


def test_all_problems_come_at_once() -> None:
    space = {"optimiser": ["adam"]}
    assert len(problems(space=space, objective={"metric": "loss", "goal": "minimize"})) == 3


def test_judging_a_study_does_not_import_torch() -> None:
    code = "import sys, tunefleet.catalogue.tasks; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
