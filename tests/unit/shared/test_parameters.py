"""Parameters: their values, the unit interval and their grids."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue, TypeAdapter, ValidationError

from tunefleet.study.parameters import Choice, Fixed, FloatRange, IntRange, LogRange, Parameter

PARAMETER: TypeAdapter[Parameter] = TypeAdapter(Parameter)

finite = st.floats(-1e12, 1e12, allow_subnormal=False)
positive = st.floats(1e-12, 1e12)
whole = st.integers(-(2**53), 2**53)
unit = st.floats(0, 1)
json_scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=3)


def pairs(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.tuples(of, of).map(sorted).map(tuple).filter(lambda pair: pair[0] < pair[1])


def distinct(values: Sequence[JsonValue]) -> list[JsonValue]:
    kept: dict[str, JsonValue] = {}
    for value in values:
        kept.setdefault(f"{type(value)}{value!r}", value)
    return list(kept.values())


ranges: st.SearchStrategy[Any] = st.one_of(
    pairs(positive).map(lambda p: LogRange(bounds=p)),
    pairs(finite).map(lambda p: FloatRange(bounds=p)),
    pairs(positive).map(lambda p: FloatRange(bounds=p, log=True)),
    pairs(whole).map(lambda p: IntRange(bounds=p)),
    pairs(st.integers(1, 2**53)).map(lambda p: IntRange(bounds=p, log=True)),
)
parameters: st.SearchStrategy[Any] = ranges | st.one_of(
    st.lists(json_scalars, min_size=1, max_size=6).map(lambda v: Choice(choice=tuple(distinct(v)))),
    json_scalars.map(lambda v: Fixed(fixed=v)),
)


@given(parameters, unit)
def test_every_point_of_the_unit_interval_is_a_value_of_the_parameter(parameter: Any, u: float) -> None:
    assert parameter.contains(parameter.from_unit(u))


@given(parameters, unit)
def test_a_value_comes_back_from_the_unit_interval(parameter: Any, u: float) -> None:
    value = parameter.from_unit(u)
    there = parameter.to_unit(value)
    assert -1e-9 <= there <= 1 + 1e-9
    back = parameter.from_unit(min(max(there, 0.0), 1.0))
    if isinstance(parameter, IntRange):
        # Integers near 2**53 have more digits than a coordinate's 53 bits can tell apart.
        assert back == value or abs(back - value) <= abs(value) * 1e-12 + 1e-12 * (
            parameter.bounds[1] - parameter.bounds[0]
        )
    elif isinstance(value, float) and not isinstance(parameter, Choice | Fixed):
        assert math.isclose(back, value, rel_tol=1e-9, abs_tol=1e-9 * (parameter.bounds[1] - parameter.bounds[0]))
    else:
        assert back == value
        assert type(back) is type(value)


@given(parameters, unit, unit)
def test_larger_coordinates_give_no_smaller_values(parameter: Any, a: float, b: float) -> None:
    if not isinstance(parameter, Choice | Fixed):
        assert parameter.from_unit(min(a, b)) <= parameter.from_unit(max(a, b))


@given(parameters)
def test_the_ends_of_the_unit_interval_are_the_ends_of_the_range(parameter: Any) -> None:
    if isinstance(parameter, LogRange | FloatRange | IntRange):
        assert parameter.from_unit(0.0) == pytest.approx(parameter.bounds[0], rel=1e-9)
        assert parameter.from_unit(1.0) == pytest.approx(parameter.bounds[1], rel=1e-9)


@given(parameters.filter(lambda p: p.size is None or p.size <= 10_000))
def test_a_grid_holds_distinct_values_of_the_parameter(parameter: Any) -> None:
    grid = parameter.grid()
    assert all(parameter.contains(value) for value in grid)
    assert len({repr(value) for value in grid}) == len(grid)
    if not isinstance(parameter, Choice | Fixed):
        assert grid == sorted(grid)
        assert (grid[0], grid[-1]) == parameter.bounds


@given(parameters)
def test_a_parameter_is_the_same_again_as_plain_data(parameter: Any) -> None:
    data = parameter.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert PARAMETER.validate_python(data) == parameter


@given(ranges, json_scalars)
def test_a_value_that_is_not_a_number_is_in_no_range(parameter: Any, value: JsonValue) -> None:
    if isinstance(value, bool | str | None):
        assert not parameter.contains(value)
    assert not parameter.contains(math.nan)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"log": [1e-6, 1e-1]}, LogRange),
        ({"float": [1, 100], "log": True}, FloatRange),
        ({"int": [16, 256], "log": True}, IntRange),
        (["sgd", "adam"], Choice),
        ({"choice": [1, "a", None]}, Choice),
        ({"fixed": [64, 64]}, Fixed),
    ],
)
def test_each_kind_is_known_by_its_key(data: Any, kind: type) -> None:
    assert isinstance(PARAMETER.validate_python(data), kind)


def test_a_log_range_gives_equal_shares_to_equal_ratios() -> None:
    parameter = LogRange(bounds=(1e-4, 1.0))
    assert [parameter.from_unit(u) for u in (0.25, 0.5, 0.75)] == pytest.approx([1e-3, 1e-2, 1e-1])
    assert parameter.grid() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])


def test_integers_have_equal_shares() -> None:
    parameter = IntRange(bounds=(1, 4))
    drawn = [parameter.from_unit((i + 0.5) / 1000) for i in range(1000)]
    assert [drawn.count(value) for value in (1, 2, 3, 4)] == [250] * 4


def test_choices_tell_true_one_and_one_point_zero_apart() -> None:
    parameter = Choice(choice=(1, 1.0, True, "1"))
    assert [parameter.from_unit(parameter.to_unit(value)) is value for value in parameter.choice] == [True] * 4
    assert not Choice(choice=(1,)).contains(True)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ({"log": [0.1, 0.01]}, "low must be below high"),
        ({"float": [1, 1]}, "for one value write {fixed: 1.0}"),
        ({"log": [0, 1]}, "a log range needs low > 0"),
        ({"int": [0, 8], "log": True}, "a log range needs low > 0"),
        ({"float": [-1, 1], "log": True}, "a log range needs low > 0"),
        ({"float": [0, math.inf]}, "finite"),
        ({"float": [math.nan, 1]}, "finite"),
        ({"int": [0, 2**60]}, "JSON keeps integers exact"),
        ({"int": [0.5, 3]}, "integer"),
        ({"choice": []}, "at least one value"),
        ([], "at least one value"),
        (["a", "a"], "the same value twice"),
        ({"log": [1, 2, 3]}, "at most 2 items"),
        ({"log": [1]}, "required"),
        ({"log": ["a", "b"]}, "number"),
        ({"log": [1, 2], "float": [1, 2]}, "log"),
        ({"uniform": [1, 2]}, "a parameter is one of"),
        (5, "a parameter is one of"),
        ({"log": [1, 2], "wehn": "a"}, "did you mean 'when'?"),
        ({"log": [1, 2], "when": "exit()"}, "is not allowed"),
        ({"float": [1, 2], "points": 1}, "greater than or equal to 2"),
    ],
)
def test_a_broken_rule_is_reported(data: Any, rule: str) -> None:
    with pytest.raises(ValidationError, match="(?is)" + re.escape(rule)):
        PARAMETER.validate_python(data)
