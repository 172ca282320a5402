"""The base class of messages: closed, frozen, with errors that a user can act on."""

from __future__ import annotations

import math

import pytest
from pydantic import Field

from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import MAX_SHOWN, Model, did_you_mean, shown
from tunefleet.protocol import ClaimRequest, FailRequest, Page, Report, StatusView


class Inner(Model):
    low: float = Field(alias="from")
    """The smallest value."""


class Outer(Model):
    inner: Inner
    items: list[Inner] = Field(default_factory=list)


class Described(Inner):
    """What two fields are."""

    high: int | None = None
    """The largest value."""
    inner: Inner | None = None
    """Another one,
    for more."""
    plain: int = 0


def test_a_schema_describes_fields_by_the_texts_below_them() -> None:
    properties = Described.model_json_schema()["properties"]
    texts = {name: shown_as.get("description") for name, shown_as in properties.items()}
    assert texts == {
        "from": "The smallest value.",
        "high": "The largest value.",
        "inner": "Another one,\nfor more.",
        "plain": None,
    }


def test_an_error_names_the_field_below_the_place_of_the_data() -> None:
    with pytest.raises(InvalidInput) as caught:
        Outer.parse({"inner": {"from": "x"}, "items": [{"from": 1}, {}]}, field="body")
    assert [str(problem) for problem in caught.value.problems] == [
        "body.inner.from = 'x': input should be a valid number, unable to parse string as a number",
        "body.items.1.from: is required",
    ]


def test_an_unknown_key_is_named_as_the_user_wrote_it() -> None:
    with pytest.raises(InvalidInput, match=r"inner\.form: unknown key 'form'; did you mean 'from'\?"):
        Outer.parse({"inner": {"form": 1}})


def test_a_name_without_a_similar_one_gets_the_list_of_known_names() -> None:
    assert did_you_mean("zzz", ["b", "a"]) == "; known are: a, b"


def test_a_long_value_is_cut() -> None:
    assert len(shown("x" * 10_000)) == MAX_SHOWN
    assert shown("short") == "'short'"


def test_a_problem_reads_as_a_sentence() -> None:
    assert str(Problem("a.b", "is wrong", "5")) == "a.b = 5: is wrong"
    assert str(Problem("", "is wrong")) == "is wrong"


def test_nan_and_infinity_cross_the_wire_as_text() -> None:
    report = Report(step=1, metrics={"a": math.nan, "b": math.inf, "c": -math.inf})
    text = report.model_dump_json()
    assert '"NaN"' in text
    back = Report.model_validate_json(text)
    assert math.isnan(back.metrics["a"])
    assert back.metrics["b"] == math.inf
    assert back.metrics["c"] == -math.inf


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (ClaimRequest, {"worker": "../../etc"}),
        (ClaimRequest, {"worker": "w", "slots": 0}),
        (ClaimRequest, {"worker": "w", "wait_s": 1e9}),
        (ClaimRequest, {"worker": "w", "study": "a/b"}),
        (Report, {"step": -1, "metrics": {"a": 1}}),
        (Report, {"step": 1, "metrics": {}}),
        (Report, {"step": 1, "metrics": {"../a": 1}}),
        (Report, {"step": 2**60, "metrics": {"a": 1}}),
        (FailRequest, {"attempt": 0}),
        (FailRequest, {"attempt": 1, "message": "x" * 5000}),
        (Page[StatusView], {"items": [], "total": "x"}),
    ],
)
def test_a_message_outside_its_bounds_is_refused(kind: type[Model], data: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        kind.parse(data)
