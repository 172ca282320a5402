"""Rules for the data of a study."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.errors import InvalidInput
from tunefleet.rules.review import review
from tunefleet.study.spec import DataSpec, StudySpec

TASK = {"task": "image_classification", "dataset": "wine"}
FUNCTION = {"function": "train:train"}


def spec(*, metric: str = "val_accuracy", run: dict[str, str] = TASK, **data: Any) -> StudySpec:
    objective = {"metric": metric, "goal": "maximize"}
    space = {"lr": {"log": [1e-4, 1e-1]}}
    return StudySpec.parse(
        {
            "name": "s",
            "objective": objective,
            "run": run,
            "data": data,
            "space": space,
            "steps": 2,
            "budget": {"trials": 4},
        }
    )


def problems(**changes: Any) -> str:
    return "; ".join(map(str, review(spec(**changes)).problems))


@pytest.mark.parametrize("key", ["group", "time"])
def test_columns_are_refused_for_built_in_data_sets(key: str) -> None:
    assert problems(**{key: "patient"}).startswith(f"data.{key} = 'patient': names a column of the data")
    assert "wine has none" in problems(**{key: "patient"})
    assert problems(**{key: "patient"}, run=FUNCTION) == ""


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ({"group": "patient", "time": "day"}, "has both group and time"),
        ({"time": "day", "folds": 5}, "train on samples later than validation"),
        (
            {"split": {"train": 0.7, "validation": 0.2, "test": 0.1}},
            r"data\.split = .*: has the key 'test': the test part is sealed",
        ),
        ({"group": ""}, "group"),
    ],
    ids=["both", "folds", "test", "empty"],
)
def test_an_invalid_split_is_refused_with_the_reason(data: dict[str, Any], rule: str) -> None:
    with pytest.raises(InvalidInput, match=rule):
        DataSpec.parse(data, field="data")


def test_a_test_score_cannot_be_the_objective_of_a_built_in_task() -> None:
    assert "the test part is sealed during the search" in problems(metric="test_accuracy")
    assert "sealed" not in problems(metric="accuracy")


def test_an_objective_that_sounds_like_a_test_score_gives_a_warning() -> None:
    assert "sounds like the test part" in " ".join(review(spec(metric="test_loss", run=FUNCTION)).warnings)
    assert review(spec(metric="val_loss", run=FUNCTION)).warnings == ()
