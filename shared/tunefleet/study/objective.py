"""What is optimised: one metric, or several of which none is given up for another, within bounds on metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, field_validator

from tunefleet.model import Model
from tunefleet.names import MetricName
from tunefleet.study.expressions import Expression, InvalidExpression


class Objective(Model):
    """What is optimised."""

    metric: MetricName
    goal: Literal["maximize", "minimize"]
    value: Literal["best", "last"] = "best"
    """Which report counts: the best one (the model is kept from there), or the last."""

    @property
    def sign(self) -> float:
        """1.0 or -1.0: the factor that turns the objective into one that is minimised."""
        return 1.0 if self.goal == "minimize" else -1.0

    def better(self, a: float, b: float | None) -> bool:
        """Whether value a is strictly better than b; anything is better than None."""
        return b is None or (a > b if self.goal == "maximize" else a < b)


class FrontObjective(Objective):
    """One of several objectives. No report is the best one in all of them, so that a trial counts with its last."""

    value: Literal["last"] = "last"

    @field_validator("value", mode="before")
    @classmethod
    def _refuse_best(cls, value: Any) -> Any:
        if value == "best":
            raise ValueError(
                "with several objectives a trial counts with its last report that has all of their metrics, since the "
                "best report of one is not the best of another; write `last`, or leave it out"
            )
        return value


def _check_outcome(text: str) -> str:
    """The text, if it is an expression over metrics that is true or false."""
    expression = Expression.parse(text)
    if not expression.names:
        raise ValueError("reads no metric; write a bound such as 'params <= 1e6'")
    try:
        found = expression.evaluate(dict.fromkeys(expression.names, 1.0))
    except InvalidExpression as error:
        if isinstance(error.__cause__, TypeError):
            raise ValueError(f"metrics are numbers, and with numbers it {_without_text(error, text)}") from error
        return text  # with other numbers it may be true or false: here it divides by zero
    if not isinstance(found, bool):
        raise ValueError("is a number and not true or false; compare it with something, such as 'params <= 1e6'")
    return text


def _without_text(error: InvalidExpression, text: str) -> str:
    return str(error).removeprefix(f"{text!r} ")


Outcome = Annotated[str, AfterValidator(_check_outcome)]
"""A bound on metrics in the grammar of `constraints`."""


def is_true(bound: Expression, metrics: Mapping[str, float]) -> bool:
    """Whether a bound is true of metrics, which have all that it reads."""
    try:
        return bool(bound.evaluate(metrics))
    except InvalidExpression:  # a division by zero: whatever was meant to hold does not
        return False
