"""The expressions of `when` and `constraints`."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunefleet.study.expressions import MAX_LENGTH, Expression, InvalidExpression

VALUES = {"lr": 0.1, "n": 4, "optimizer": "sgd", "flag": True, "nothing": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("lr * n <= 10", True),
        ("0 < lr < 0.05", False),
        ("0 < n < 5 < 6", True),
        ("optimizer == 'sgd' and not (flag and n == 0)", True),
        ("optimizer in ['adam', 'sgd']", True),
        ("optimizer not in ('adam',)", True),
        ("n ** 2 - 1", 15),
        ("n // 3 + n % 3", 2),
        ("-n + +n", 0),
        ("nothing == None", True),
        ("  n\n", 4),
        ("flag or n / 0 > 1", True),
        ("2 ** 64 * 2 > 1e19", True),
    ],
)
def test_an_expression_has_the_value_that_python_gives_it(text: str, value: Any) -> None:
    assert Expression.parse(text).evaluate(VALUES) == value


@pytest.mark.parametrize(
    "text",
    [
        "exit()",
        "__import__('os').system('x')",
        "lr.real",
        "lr[0]",
        "[x for x in n]",
        "lambda: 1",
        "lr if flag else n",
        "{1: 2}",
        "f'{lr}'",
        "(y := 3)",
        "lr is None",
        "~n",
        "n << 3",
        "n @ n",
        "1j",
        "b'x'",
        "...",
        "*n, 1",
        "await n",
    ],
)
def test_a_foreign_form_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidExpression, match=r"is not (allowed|an expression)"):
        Expression.parse(text)


@pytest.mark.parametrize("text", ["", "lr <", "a = 1", "import os", "lr ==== 1", "1; 2", "\0", "'", "é é"])
def test_text_that_cannot_be_parsed_is_refused(text: str) -> None:
    with pytest.raises(InvalidExpression, match="is not an expression"):
        Expression.parse(text)


@pytest.mark.parametrize("text", ["(" * 240 + "n" + ")" * 240, "not " * 120 + "n", "-" * 490 + "1", "n" + " + n" * 120])
def test_a_deep_expression_is_read_or_refused_and_never_crashes(text: str) -> None:
    with contextlib.suppress(InvalidExpression):
        Expression.parse(text).evaluate(VALUES)


def test_a_long_expression_is_refused() -> None:
    with pytest.raises(InvalidExpression, match=f"at most {MAX_LENGTH}"):
        Expression.parse("n + " * 200 + "n")


@pytest.mark.parametrize(
    "text",
    [
        "n / 0",
        "n % 0",
        "optimizer + 1",
        "optimizer < 1",
        "n in 5",
        "missing > 1",
        "9 ** 9 ** 9",
        "(-8) ** 0.5",
        "1e308 * 10 ** 60 ** 2",
        "'a' * 1000000000",
        "10.0 ** 64 ** 2",
    ],
)
def test_an_expression_that_cannot_be_computed_raises_invalid_expression(text: str) -> None:
    with pytest.raises(InvalidExpression):
        Expression.parse(text).evaluate(VALUES)


def test_large_numbers_are_found_quickly_and_do_not_grow() -> None:
    assert Expression.parse("9 ** 64 * 9 ** 64 * 9 ** 64 > 1").evaluate({}) is True


def test_names_are_those_that_the_expression_reads() -> None:
    assert Expression.parse("lr * n <= 10 and optimizer == 'flag'").names == {"lr", "n", "optimizer"}


@given(st.text(max_size=60))
def test_any_text_is_either_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidExpression):
        Expression.parse(text).evaluate({})
