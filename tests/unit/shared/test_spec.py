"""The study spec: its grammar, its round trip, and the message for every error."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunefleet.errors import InvalidInput
from tunefleet.study.objective import Objective
from tunefleet.study.spec import FunctionRun, StudySpec, TaskRun

# The grammar of the design, with every key in it.
WHOLE: dict[str, Any] = {
    "name": "digits-cnn",
    "objective": {"metric": "val_accuracy", "goal": "maximize", "value": "last"},
    "run": {"task": "image_classification", "dataset": "digits"},
    "data": {"split": {"train": 0.7, "validation": 0.3}, "stratify": False, "subset": 0.5, "folds": 3, "seed": 1},
    "space": {
        "lr": {"log": [1.0e-6, 1.0e-1]},
        "batch_size": {"int": [16, 256], "log": True},
        "optimizer": ["sgd", "adam"],
        "momentum": {"float": [0.0, 0.99], "when": "optimizer == 'sgd'"},
        "width": {"fixed": 64},
    },
    "constraints": ["batch_size * lr <= 10"],
    "steps": 20,
    "search": {"sampler": "tpe", "seed": 7},
    "warm_start": ["earlier"],
    "stages": [{"trials": 60, "steps": 2}, {"trials": 30, "steps": 20, "keep": 0.2}],
    "pruning": {"pruner": "asha", "min": 1, "max": 27, "eta": 4},
    "budget": {"trials": 90, "hours": 4},
    "preflight": {"samples": 65, "updates": 301},
    "finalists": {"count": 6, "seeds": 4},
    "ensemble": {"method": "top", "size": 6},
    "resources": {"gpus": 1, "labels": ["a100"]},
    "priority": 3,
    "trial_timeout": "2h",
    "retry": {"lost": 4, "out_of_memory": 1, "error": 2},
}
SMALL = {key: WHOLE[key] for key in ("name", "objective", "run", "space")}


def changed(**changes: Any) -> dict[str, Any]:
    """The whole grammar with the values at some places replaced; `__` goes one level down, None removes."""
    data = copy.deepcopy(WHOLE)
    for place, value in changes.items():
        *path, last = place.split("__")
        at = data
        for key in path:
            at = at[key]
        if value is None:
            del at[last]
        else:
            at[last] = value
    return data


def message_of(data: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        StudySpec.parse(data)
    return str(caught.value)


def test_the_whole_grammar_is_understood() -> None:
    spec = StudySpec.parse(WHOLE)
    assert spec.trial_timeout == 7200
    assert isinstance(spec.run, TaskRun)
    assert spec.run.options == {"dataset": "digits"}
    assert len(spec.stages) == 2


def test_only_name_objective_run_and_space_are_required() -> None:
    assert StudySpec.parse(SMALL).steps is None
    assert message_of({}) == "name: is required; objective: is required; run: is required; space: is required"


@pytest.mark.parametrize("data", [WHOLE, SMALL], ids=["whole", "small"])
def test_a_spec_is_the_same_again_as_plain_data(data: dict[str, Any]) -> None:
    spec = StudySpec.parse(data)
    assert StudySpec.parse(spec.to_json()) == spec
    assert StudySpec.model_validate_json(spec.model_dump_json(by_alias=True)) == spec


def test_defaults_are_left_out_of_the_plain_data() -> None:
    assert set(StudySpec.parse(SMALL).to_json()) == set(SMALL)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "steps": st.integers(1, 100),
            "budget": st.fixed_dictionaries({}, optional={"trials": st.integers(1, 99), "hours": st.floats(0.1, 99)}),
            "trial_timeout": st.sampled_from(["90s", "1.5h", "2d", 30, 0.5]),
            "constraints": st.sampled_from([[], ["lr < 1"], "lr < 1"]),
            "stages": st.sampled_from(["auto", [], [{"trials": 1, "steps": 1}]]),
            "preflight": st.sampled_from([None, {}, {"samples": 3}]),
            "run": st.sampled_from(
                [{"command": "x"}, {"function": "a.b:c", "code": "."}, {"task": "t", "option": [1]}]
            ),
        },
    )
)
def test_any_mixture_of_keys_survives_the_round_trip(changes: dict[str, Any]) -> None:
    spec = StudySpec.parse(SMALL | changes)
    assert StudySpec.parse(spec.to_json()) == spec


def test_the_schema_offers_every_key() -> None:
    schema = StudySpec.model_json_schema(by_alias=True)
    assert set(schema["properties"]) == {*WHOLE, "objectives", "outcomes"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bugdet": {"trials": 3}}, "bugdet: unknown key 'bugdet'; did you mean 'budget'?"),
        ({"search__sampelr": "grid"}, "search.sampelr: unknown key 'sampelr'; did you mean 'sampler'?"),
        ({"space__lr__lgo": [1, 2]}, "space.lr.lgo: unknown key 'lgo'; did you mean 'log'?"),
        ({"run__task": None}, "run"),
        ({"steps": "many"}, "steps = 'many': input should be a valid integer"),
        ({"steps": 0}, "steps = 0: input should be greater than or equal to 1"),
        ({"budget": 5}, "budget = 5: input should be a valid dictionary"),
        ({"budget__trials": 1.5}, "budget.trials = 1.5"),
        ({"space__lr": {"log": [0.1, 0.01]}}, "space.lr"),
        ({"space__lr": {"log": [0.1, 0.01]}}, "low must be below high, but 0.1 is not below 0.01"),
        ({"space__lr": {"log": [0, 1]}}, "a log range needs low > 0, but low is 0.0; start above zero"),
        ({"space__lr": []}, "a choice needs at least one value"),
        ({"space__lr": {"lin": [0, 1]}}, "a parameter is one of {log: [low, high]}"),
        ({"space": {}}, "space"),
        ({"space__lambda": [1]}, "a parameter's name must be a Python identifier"),
        ({"space__trial": [1]}, "'trial' is a reserved name"),
        (
            {"space__momentum__when": "optimiser == 'sgd'"},
            "names the unknown parameter 'optimiser'; did you mean 'optimizer'?",
        ),
        (
            {"space__optimizer": {"choice": ["sgd"], "when": "momentum > 0"}},
            "conditions form a cycle: optimizer, momentum",
        ),
        ({"space__momentum__when": "len(optimizer) == 3"}, "'len(optimizer)' is not allowed"),
        ({"space__momentum__when": "optimizer.x == 3"}, "no calls, attributes or indices"),
        ({"constraints": ["lr <"]}, "constraints.0: 'lr <' is not an expression"),
        ({"constraints": ["learning_rate < 1"]}, "constraints.0"),
        ({"name": "../etc"}, "name = '../etc': a name begins with a letter or a digit"),
        ({"name": "a/b"}, "name = 'a/b'"),
        ({"name": "a..b"}, "name = 'a..b'"),
        ({"name": "x" * 101}, "at most 100 characters"),
        ({"run": {"task": "../x"}}, "run.task = '../x'"),
        ({"run": {"function": "train"}}, "a function is written 'module:name'"),
        ({"run": {"function": "../a:b"}}, "a function is written 'module:name'"),
        ({"run": {"task": "t", "command": "x"}}, "run needs exactly one of"),
        ({"run": "train.py"}, "run needs exactly one of"),
        ({"run": {"command": ""}}, "run.command"),
        ({"objective__goal": "up"}, "objective.goal = 'up'"),
        ({"objective__metric": "val accuracy"}, "a metric's name begins with a letter"),
        ({"search__sampler": "bayes"}, "search.sampler = 'bayes'"),
        (
            {"data__split": {"train": 0.9, "validation": 0.2}},
            "the sum of train and validation must be at most 1, but it is 1.1",
        ),
        ({"trial_timeout": "soon"}, "a duration is a number of seconds"),
        ({"trial_timeout": -1}, "trial_timeout = -1"),
        ({"resources__labels": ["a b"]}, "resources.labels.0 = 'a b'"),
        ({"priority": float("nan")}, "priority = nan"),
    ],
)
def test_a_broken_rule_is_reported_with_its_field(changes: dict[str, Any], message: str) -> None:
    assert message in message_of(changed(**changes))


@pytest.mark.parametrize("data", [None, [], "study", 5, [["name", "x"]]])
def test_a_study_that_is_not_a_mapping_is_refused(data: object) -> None:
    assert "valid dictionary" in message_of(data)


def test_all_problems_are_reported_at_once_without_tags() -> None:
    text = message_of(changed(steps="x", space__lr={"log": [3, 1]}, name="a b"))
    assert text.count(";") >= 2
    assert "LOG" not in text
    assert "TASK" not in text


def test_a_huge_value_does_not_flood_the_message() -> None:
    assert len(message_of(changed(name="x" * 100_000))) < 500


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        StudySpec.parse(SMALL).name = "other"  # type: ignore[misc]


def test_the_bundle_is_recognised_by_its_prefix() -> None:
    with_code = {**SMALL, "run": {"function": "a:b", "code": f"sha256:{'0' * 64}"}}
    assert StudySpec.parse(with_code).bundle == "0" * 64
    assert StudySpec.parse({**SMALL, "run": {"function": "a:b", "code": "."}}).bundle is None
    assert isinstance(StudySpec.parse(with_code).run, FunctionRun)


def test_a_study_can_be_written_in_python() -> None:
    spec = StudySpec(
        name="s",
        objective=Objective(metric="loss", goal="minimize"),
        run=FunctionRun(function="train:train"),
        space=StudySpec.parse(SMALL).space,
    )
    assert StudySpec.parse(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("goal", "a", "b", "better"),
    [("maximize", 2, 1, True), ("maximize", 1, 1, False), ("minimize", 1, 2, True), ("minimize", 3, None, True)],
)
def test_better_follows_the_goal(goal: Any, a: float, b: float | None, better: bool) -> None:
    assert Objective(metric="m", goal=goal).better(a, b) is better
