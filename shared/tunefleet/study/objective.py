"""Objectives of a study: the metrics to optimise, and bounds on metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, field_validator

from tunefleet.model import Model
from tunefleet.names import MetricName
from tunefleet.study.expressions import Expression, InvalidExpression


class Objective(Model):
    """A metric to optimise."""

    metric: MetricName
    goal: Literal["maximize", "minimize"]
    value: Literal["best", "last"] = "best"
    """The report that counts: the best one, from which the model is stored too, or the last one."""

    @property
    def sign(self) -> float:
        """1.0 or -1.0: the factor that turns the objective into one that is minimised."""
        return 1.0 if self.goal == "minimize" else -1.0

    def better(self, a: float, b: float | None) -> bool:
        """Return True if value a is strictly better than b; any value is better than None."""
        return b is None or (a > b if self.goal == "maximize" else a < b)


class FrontObjective(Objective):
    """One of several objectives. A trial counts with its last report, because no report is best in all of them."""

    value: Literal["last"] = "last"

    @field_validator("value", mode="before")
    @classmethod
    def _refuse_best(cls, value: Any) -> Any:
        if value == "best":
            raise ValueError(
                "with several objectives a trial counts with its last report that has all of their metrics, because no "
                "report is the best in all of them; write `last`, or leave it out"
            )
        return value


def _check_outcome(text: str) -> str:
    """Return the text. Raises ValueError unless it is a true-or-false expression over metrics."""
    expression = Expression.parse(text)
    if not expression.names:
        raise ValueError("reads no metric; write a bound such as 'params <= 1e6'")
    try:
        found = expression.evaluate(dict.fromkeys(expression.names, 1.0))
    except InvalidExpression as error:
        if isinstance(error.__cause__, TypeError):
            raise ValueError(f"metrics are numbers, and with numbers the bound {_without_text(error, text)}") from error
        return text  # it divides by zero here, but may be valid with other numbers
    if not isinstance(found, bool):
        raise ValueError("is a number, not true or false; add a comparison, such as 'params <= 1e6'")
    return text


def _without_text(error: InvalidExpression, text: str) -> str:
    return str(error).removeprefix(f"{text!r} ")


Outcome = Annotated[str, AfterValidator(_check_outcome)]
"""A bound on metrics, in the grammar of `constraints`."""


def is_true(bound: Expression, metrics: Mapping[str, float]) -> bool:
    """Return True if a bound holds; `metrics` has all names that it reads."""
    try:
        return bool(bound.evaluate(metrics))
    except InvalidExpression:  # a division by zero: the bound does not hold
        return False
