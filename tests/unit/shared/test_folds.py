"""The trials of a configuration with folds, and the rules for folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tunefleet import LocalTrial
from tunefleet.data.folds import fold_indices
from tunefleet.data.split import split_indices
from tunefleet.errors import InvalidInput
from tunefleet.rules.folds import fold_problems
from tunefleet.rules.review import review
from tunefleet.study.folds import configuration_of, fold_of, numbers_of, standard_error_of, state_of
from tunefleet.study.spec import DataSpec, StudySpec
from tunefleet.study.states import TrialState as S


def spec_of(**changes: Any) -> StudySpec:
    return StudySpec.parse(
        {
            "name": "s",
            "objective": {"metric": "val_loss", "goal": "minimize"},
            "run": {"task": "image_classification", "dataset": "digits"},
            "space": {"lr": {"log": [1e-4, 1e-1]}},
            "steps": 3,
            "budget": {"trials": 20},
            "data": {"folds": 5},
            **changes,
        }
    )


def test_trial_numbers_run_through_the_folds_of_one_configuration_after_the_other() -> None:
    spec, plain = spec_of(), spec_of(data={})
    assert [(configuration_of(spec, n), fold_of(spec, n)) for n in (0, 4, 5, 12)] == [(0, 0), (0, 4), (1, 0), (2, 2)]
    assert list(numbers_of(spec, 2)) == [10, 11, 12, 13, 14]
    assert (configuration_of(plain, 12), fold_of(plain, 12), list(numbers_of(plain, 12))) == (12, None, [12])


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ((S.WAITING, S.WAITING), S.WAITING),
        ((S.COMPLETE, S.WAITING), S.RUNNING),
        ((S.FAILED, S.RUNNING), S.RUNNING),
        ((S.COMPLETE, S.COMPLETE), S.COMPLETE),
        ((S.COMPLETE, S.PRUNED, S.FAILED), S.FAILED),
        ((S.COMPLETE, S.PRUNED, S.CANCELLED), S.PRUNED),
        ((S.COMPLETE, S.CANCELLED), S.CANCELLED),
    ],
)
def test_a_configuration_is_in_the_state_that_its_folds_make(states: tuple[S, ...], state: S) -> None:
    assert state_of(states) is state


def test_one_value_has_no_standard_error() -> None:
    assert standard_error_of([1.0]) is None
    assert standard_error_of([1.0, 3.0]) == 1.0


def test_a_study_with_folds_is_accepted_and_its_budget_counts_configurations() -> None:
    found = review(spec_of())
    assert (found.problems, found.unavailable, found.warnings) == ((), (), ())


@pytest.mark.parametrize(
    ("changes", "field", "rule"),
    [
        ({"data": {"folds": 140}}, "data.folds", "is above the 139 samples of the smallest class of digits"),
        ({"data": {"folds": 5, "split": {"validation": 0.3, "train": 0.7}}}, "data.split", "is not read"),
        ({"data": {"race": False}}, "data.race", "`data.folds` is 1"),
        ({"search": {"sampler": "pbt", "interval": 1}}, "search.sampler", "trains a population"),
        ({"stages": [{"trials": 20, "steps": 3}]}, "stages", "cannot be used with cross-validation"),
        ({"pruning": {"pruner": "asha"}}, "pruning.pruner", "data.race"),
        (
            {
                "objective": None,
                "objectives": [
                    {"metric": "val_loss", "goal": "minimize"},
                    {"metric": "val_accuracy", "goal": "maximize"},
                ],
            },
            "data.folds",
            "works with one objective only",
        ),
    ],
)
def test_keys_that_folds_rule_out_are_refused(changes: dict[str, Any], field: str, rule: str) -> None:
    [problem] = fold_problems(spec_of(**changes))
    assert problem.field == field
    assert rule in problem.rule


def test_without_strata_a_class_may_be_smaller_than_the_folds() -> None:
    assert not list(fold_problems(spec_of(data={"folds": 140, "stratify": False})))


def test_a_trial_splits_as_the_folds_of_its_study_do() -> None:
    labels = np.repeat([0, 1, 2], 20)
    trial = LocalTrial(data=DataSpec(folds=4, seed=7))
    for fold, parts in enumerate(fold_indices(labels, folds=4, seed=7)):
        trial.fold = fold
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(trial.split(labels), parts, strict=True))


def test_a_trial_keeps_groups_together() -> None:
    groups = np.arange(30) // 3
    train, validation = LocalTrial(data=DataSpec(folds=3)).split(np.arange(30) % 2, groups=groups)
    assert not set(groups[train]) & set(groups[validation])


def test_a_trial_without_folds_uses_the_split_of_its_study() -> None:
    labels = np.repeat([0, 1], 20)
    parts = split_indices(labels, DataSpec(seed=3))
    train, validation = LocalTrial(data=DataSpec(seed=3)).split(labels)
    assert np.array_equal(train, parts.train)
    assert np.array_equal(validation, parts.validation)


def test_a_group_split_without_groups_is_refused() -> None:
    for folds in (1, 3):
        with pytest.raises(InvalidInput, match=r"keeps samples with the same patient together \(data\.group\)"):
            LocalTrial(data=DataSpec(folds=folds, group="patient")).split([0, 1] * 9)


def test_a_subset_is_taken_of_the_training_part_of_a_fold() -> None:
    labels = np.repeat([0, 1], 50)
    train, validation = LocalTrial(data=DataSpec(folds=5)).split(labels)
    some, same = LocalTrial(data=DataSpec(folds=5, subset=0.5)).split(labels)
    assert set(some) < set(train)
    assert (len(some), np.bincount(labels[some]).tolist()) == (40, [20, 20])
    assert np.array_equal(validation, same)
