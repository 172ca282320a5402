"""The space: conditions, constraints, grids, and the check of configurations."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunefleet.errors import InvalidInput
from tunefleet.study.space import Space, configuration_hash, describe
from tunefleet.study.spec import StudySpec


def space(constraints: tuple[str, ...] = (), /, **parameters: Any) -> Space:
    return StudySpec.parse(
        {
            "name": "s",
            "objective": {"metric": "m", "goal": "minimize"},
            "run": {"command": "x"},
            "space": parameters,
            "constraints": list(constraints),
        }
    ).search_space


OPTIMIZERS = {
    "nesterov": {"choice": [True, False], "when": "momentum > 0.5"},
    "momentum": {"float": [0, 0.99], "when": "optimizer == 'sgd'"},
    "optimizer": ["sgd", "adam"],
    "lr": {"log": [1e-4, 1e-1]},
    "batch": {"int": [16, 256], "log": True},
}


def problems(of: Space, **configuration: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        of.check(configuration)
    return [str(problem) for problem in caught.value.problems]


def test_parameters_come_after_those_that_their_conditions_read() -> None:
    assert space(**OPTIMIZERS).names == ("optimizer", "momentum", "nesterov", "lr", "batch")


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_every_sampled_configuration_that_is_allowed_passes_the_check(point: list[float]) -> None:
    made = space(("batch * lr <= 10", "momentum < 0.9"), **OPTIMIZERS)
    configuration = made.from_unit(dict(zip(made.names, point, strict=True)))
    if made.allows(configuration):
        assert made.check(configuration) == configuration
    else:
        assert "breaks the constraint" in problems(made, **configuration)[0]


def test_a_condition_on_an_inactive_parameter_is_false() -> None:
    made = space(**OPTIMIZERS)
    assert set(made.from_unit(dict.fromkeys(made.names, 0.9))) == {"optimizer", "lr", "batch"}
    assert set(made.from_unit(dict.fromkeys(made.names, 0.1))) == {"optimizer", "momentum", "lr", "batch"}


def test_a_constraint_on_an_inactive_parameter_does_not_bind() -> None:
    made = space(("momentum < 0.1",), **OPTIMIZERS)
    assert made.allows({"optimizer": "adam", "lr": 0.1, "batch": 16})
    assert not made.allows({"optimizer": "sgd", "momentum": 0.5, "lr": 0.1, "batch": 16})


def test_a_grid_has_each_distinct_configuration_once() -> None:
    made = space(optimizer=["sgd", "adam"], momentum={"float": [0, 1], "points": 3, "when": "optimizer == 'sgd'"})
    grid = list(made.grid())
    assert grid == [
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "sgd", "momentum": 0.5},
        {"optimizer": "sgd", "momentum": 1.0},
        {"optimizer": "adam"},
    ]
    assert made.grid_size == 6
    assert made.size is None


def test_a_grid_obeys_the_constraints() -> None:
    made = space(("a + b <= 2",), a={"int": [0, 2]}, b={"int": [0, 2]})
    assert len(list(made.grid())) == 6
    assert made.size == 9


def test_all_problems_of_a_configuration_are_reported_at_once() -> None:
    made = space(**OPTIMIZERS)
    told = problems(made, optimizer="adam", momentum=0.5, lr=1.0, bacht=16)
    assert told == [
        "params.bacht: unknown parameter; did you mean 'batch'?",
        "params.momentum: must be left out, because \"optimizer == 'sgd'\" is not true here",
        "params.lr = 1.0: is not in log [0.0001, 0.1]",
        "params.batch: is required",
    ]


def test_a_broken_constraint_is_reported() -> None:
    assert problems(space(("a < 2",), a=[1, 2]), a=2) == ["params: breaks the constraint 'a < 2'"]


def test_whole_numbers_are_taken_for_real_ones_and_not_the_other_way() -> None:
    made = space(a={"float": [0, 2]}, b={"int": [0, 2]})
    assert made.check({"a": 1, "b": 1}) == {"a": 1, "b": 1}
    assert problems(made, a=1, b=1.0) == ["params.b = 1.0: is not in int [0, 2]"]


def test_unknown_names_and_circles_are_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"space\.a\.when = 'optimiser == 1': names the unknown parameter 'optimiser'"
    ):
        space(a={"choice": [1], "when": "optimiser == 1"}, optimizer=["sgd"])
    with pytest.raises(InvalidInput, match="conditions form a cycle: a, b"):
        space(a={"choice": [1], "when": "b == 1"}, b={"choice": [1], "when": "a == 1"})
    with pytest.raises(InvalidInput, match="conditions form a cycle: a"):
        space(a={"choice": [1], "when": "a == 1"})
    with pytest.raises(InvalidInput, match=r"constraints\.1 .*names the unknown parameter 'c'; did you mean"):
        space(("a < 2", "c < 2"), a=[1], cc=[1])
    with pytest.raises(InvalidInput, match=r"constraints\.0: 'exit\(\)' is not allowed"):
        space(("exit()",), a=[1])


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(-3, 3) | st.floats(-3, 3) | st.text(max_size=2)))
def test_a_hash_does_not_depend_on_the_order(configuration: dict[str, Any]) -> None:
    names = list(configuration)
    random.Random(0).shuffle(names)
    assert configuration_hash({name: configuration[name] for name in names}) == configuration_hash(configuration)


def test_a_hash_tells_values_apart() -> None:
    values: list[Any] = [1, 2, "1", True, None, [1], 1.5]
    hashes = {configuration_hash({"a": value}) for value in values}
    assert len(hashes) == 7


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ({"log": [1e-6, 0.1]}, "log [1e-06, 0.1]"),
        ({"int": [16, 256], "log": True}, "int [16, 256] on a log scale"),
        ({"float": [0, 1], "when": "b == 1"}, "float [0.0, 1.0]"),
        (["a", 1], 'choice ["a", 1]'),
        ({"fixed": None}, "fixed null"),
    ],
)
def test_a_parameter_is_described_as_it_is_written(parameter: Any, text: str) -> None:
    assert describe(space(a=parameter, b=[1, 2]).parameters["a"]) == text
