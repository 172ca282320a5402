"""Rules for pruning."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.catalogue.pruners import PRUNERS
from tunefleet.errors import InvalidInput
from tunefleet.rules.pruning import pruning_problems
from tunefleet.study.spec import Pruning, StudySpec
from tunefleet.study.stages import longest


def spec_of(pruning: dict[str, Any], **changes: Any) -> StudySpec:
    data: dict[str, Any] = {
        "name": "s",
        "objective": {"metric": "loss", "goal": "minimize"},
        "run": {"function": "a:b"},
        "space": {"lr": {"log": [1e-4, 1]}},
        "steps": 20,
        "pruning": pruning,
    }
    return StudySpec.parse({**data, **changes})


def problems(pruning: dict[str, Any], **changes: Any) -> list[str]:
    return [str(problem) for problem in pruning_problems(spec_of(pruning, **changes))]


SOUND: tuple[dict[str, Any], ...] = (
    {},
    {"pruner": "none"},
    {"pruner": "asha"},
    {"pruner": "asha", "mode": "promote", "min": 2, "max": 18, "eta": 2},
    {"pruner": "hyperband", "max": 20},
    {"pruner": "median", "startup": 1, "min": 19, "interval": 7},
    {"pruner": "percentile", "percentile": 10},
    {"pruner": "patience", "patience": 19, "min_delta": 0.01},
    {"pruner": "threshold", "lower": 0},
    {"pruner": "threshold", "lower": -1, "upper": 1},
)


@pytest.mark.parametrize("pruning", SOUND)
def test_valid_pruning_has_no_problems(pruning: dict[str, Any]) -> None:
    assert problems(pruning) == []


def test_every_pruner_lists_its_keys_and_every_key_has_a_reader() -> None:
    assert {key for traits in PRUNERS.values() for key in traits.reads} == set(Pruning.model_fields) - {"pruner"}


@pytest.mark.parametrize(
    ("pruning", "message"),
    [
        (
            {"pruner": "asha", "patience": 3},
            "pruning.patience = 3: is read by patience only, but the pruner is asha; "
            "leave it out, or set another pruner",
        ),
        (
            {"eta": 4},
            "pruning.eta = 4: is read by asha, hyperband only, but the pruner is none; "
            "leave it out, or set another pruner",
        ),
        (
            {"pruner": "asha", "max": 27},
            "pruning.max = 27: is above the 20 steps that a trial runs; set it to at most 20, or leave it out",
        ),
        (
            {"pruner": "hyperband", "min": 9, "max": 9},
            "pruning.min = 9: must be below `max`, which is 9; otherwise there is no second rung",
        ),
        (
            {"pruner": "asha", "min": 20},
            "pruning.min = 20: must be below the 20 steps that a trial runs; otherwise no trial is ever stopped",
        ),
        (
            {"pruner": "median", "min": 21},
            "pruning.min = 21: must be below the 20 steps that a trial runs; otherwise no trial is ever stopped",
        ),
        (
            {"pruner": "patience"},
            "pruning.patience: is required: the steps without improvement after which a trial is stopped",
        ),
        (
            {"pruner": "patience", "patience": 20},
            "pruning.patience = 20: must be below the 20 steps that a trial runs; otherwise it never stops a trial",
        ),
        (
            {"pruner": "threshold"},
            "pruning: threshold needs `lower`, `upper` or both: the values of the objective's metric at which a trial "
            "is stopped",
        ),
        (
            {"pruner": "threshold", "lower": 2, "upper": 1},
            "pruning.lower = 2.0: must be below `upper`, which is 1; otherwise every trial is stopped",
        ),
    ],
)
def test_invalid_pruning_is_refused_with_the_field_the_value_and_the_rule(
    pruning: dict[str, Any], message: str
) -> None:
    assert problems(pruning) == [message]


def test_every_unread_key_is_reported() -> None:
    found = problems({"pruner": "threshold", "upper": 1, "mode": "stop", "startup": 5, "interval": 1})
    assert [message.split(" ")[0] for message in found] == ["pruning.mode", "pruning.startup", "pruning.interval"]


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_rungs_need_an_end(pruner: str) -> None:
    [message] = problems({"pruner": pruner}, steps=None)
    assert message.startswith(f"steps: is required by the pruner {pruner}")
    assert problems({"pruner": pruner, "max": 27}, steps=None) == []


@pytest.mark.parametrize(
    "pruning",
    [{"pruner": "median"}, {"pruner": "patience", "patience": 3}, {"pruner": "threshold", "upper": 1, "min": 99}],
)
def test_other_pruners_do_not_need_steps(pruning: dict[str, Any]) -> None:
    assert problems(pruning, steps=None) == []


def test_a_command_cannot_be_promoted() -> None:
    run = {"command": "python train.py"}
    [message] = problems({"pruner": "asha", "mode": "promote"}, run=run)
    assert message.startswith("pruning.mode = 'promote': a promoted trial continues from its checkpoint")
    assert problems({"pruner": "asha", "mode": "stop"}, run=run) == []


def test_the_longest_stage_counts_where_there_are_stages() -> None:
    stages = [{"trials": 9, "steps": 3}, {"trials": 3, "steps": 30}]
    assert longest(spec_of({}, stages=stages)) == 30
    assert longest(spec_of({}, stages="auto")) == 20
    assert problems({"pruner": "asha", "max": 27}, stages=stages) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("eta", value) for value in (1, 0, 1_001, 2.5)),
        *(("min", value) for value in (0, -1, "x")),
        *(("percentile", value) for value in (0, 100, float("nan"))),
        *(("min_delta", value) for value in (-1, float("inf"), float("nan"))),
        *((key, value) for key in ("lower", "upper") for value in (float("inf"), float("nan"))),
        ("startup", 0),
        ("interval", 0),
        ("patience", 0),
        ("max", 0),
        ("mode", "pause"),
        ("pruner", "ashaa"),
    ],
)
def test_a_value_out_of_range_is_refused(key: str, value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        Pruning.parse({key: value}, field="pruning")
    assert [problem.field for problem in caught.value.problems] == [f"pruning.{key}"]
