"""The kinds of parameter, each a frozen model that maps between its values and the unit interval.

Samplers work in the unit cube: `from_unit` turns a coordinate u in [0, 1] into a value, `to_unit` turns a value back.
Equal lengths of the unit interval are equally likely values; on a log scale these are equal ratios.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from tunefleet.model import Model
from tunefleet.study.expressions import Expression, InvalidExpression

DEFAULT_POINTS = (
    5  # a grid over a continuous range: enough to see a valley, and five parameters still make a number that can be run
)
MAX_CHOICES = 1_000
MAX_INT = 2**53  # integers above it are not exact in JSON numbers


class Conditional(Model):
    """What every kind has: the condition under which the parameter exists."""

    when: str | None = None
    """Active only in configurations where this expression is true."""

    @model_validator(mode="after")
    def _check_when(self) -> Self:
        if self.when is not None:
            _parse(self.when)
        return self

    @property
    def condition(self) -> Expression | None:
        """The parsed `when`."""
        return None if self.when is None else _parse(self.when)


class RealRange(Conditional):
    """Real numbers from low to high, both included; on a log scale unless the kind says otherwise."""

    bounds: tuple[float, float]
    points: int = Field(default=DEFAULT_POINTS, ge=2, le=10_000)
    """How many points a grid takes from the range."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        _check_bounds(self.bounds, log=self.is_log)
        return self

    @property
    def is_log(self) -> bool:
        """Whether equal ratios, and not equal differences, are equally likely."""
        return True

    @property
    def size(self) -> int | None:
        """How many values there are; None, since they cannot be counted."""
        return None

    def from_unit(self, u: float) -> float:
        """The value at u in [0, 1]."""
        low, high = self._edges
        at = low + u * (high - low)
        return min(max(math.exp(at) if self.is_log else at, self.bounds[0]), self.bounds[1])

    def to_unit(self, value: JsonValue) -> float:
        """The coordinate in [0, 1] of a value of the range."""
        low, high = self._edges
        at = math.log(_number(value)) if self.is_log else _number(value)
        # Bounds that are neighbours among the floats have the same logarithm.
        return (at - low) / (high - low) if high > low else 0.0

    def contains(self, value: JsonValue) -> bool:
        """Whether the value belongs to the range."""
        return _is_number(value) and self.bounds[0] <= _number(value) <= self.bounds[1]

    def grid(self) -> list[JsonValue]:
        """`points` distinct values with equal steps on the range's own scale, both ends included."""
        inner = [self.from_unit(i / (self.points - 1)) for i in range(1, self.points - 1)]
        # In a range of a few floats, some points are the same number.
        return list(dict.fromkeys([self.bounds[0], *inner, self.bounds[1]]))

    @property
    def grid_size(self) -> int:
        """How many points `grid` gives."""
        return len(self.grid())

    @property
    def _edges(self) -> tuple[float, float]:
        low, high = self.bounds
        return (math.log(low), math.log(high)) if self.is_log else (low, high)


class LogRange(RealRange):
    """Positive real numbers, equal ratios equally likely; `{log: [1.0e-6, 1.0e-1]}`."""

    bounds: tuple[float, float] = Field(alias="log")


class FloatRange(RealRange):
    """Real numbers; `{float: [0.0, 0.99]}`, or `{float: [1, 100], log: true}`."""

    bounds: tuple[float, float] = Field(alias="float")
    log: bool = False

    @property
    def is_log(self) -> bool:
        """As written: linear by default."""
        return self.log


class IntRange(Conditional):
    """Whole numbers from low to high, both included; `{int: [16, 256], log: true}`."""

    bounds: tuple[int, int] = Field(alias="int")
    log: bool = False
    points: int | None = Field(default=None, ge=2, le=10_000)
    """How many points a grid takes from the range; all of them when not given and the scale is linear."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        _check_bounds(self.bounds, log=self.log)
        if max(abs(bound) for bound in self.bounds) > MAX_INT:
            raise ValueError(f"bounds must lie within ±{MAX_INT}, where JSON keeps integers exact")
        return self

    @property
    def size(self) -> int | None:
        """How many values there are."""
        return self.bounds[1] - self.bounds[0] + 1

    def from_unit(self, u: float) -> int:
        """The value whose cell holds u in [0, 1].

        Each integer k owns the cell [k - 1/2, k + 1/2) of the range's scale.
        """
        low, high = self._edges
        at = math.exp(low + u * (high - low)) if self.log else low + u * (high - low)
        return min(max(math.floor(at + 0.5), self.bounds[0]), self.bounds[1])

    def to_unit(self, value: JsonValue) -> float:
        """The coordinate in [0, 1] of an integer of the range."""
        low, high = self._edges
        at = math.log(_number(value)) if self.log else _number(value)
        return (at - low) / (high - low)

    def contains(self, value: JsonValue) -> bool:
        """Whether the value is an integer of the range."""
        return isinstance(value, int) and not isinstance(value, bool) and self.bounds[0] <= value <= self.bounds[1]

    def grid(self) -> list[JsonValue]:
        """Distinct integers with equal steps on the range's own scale, both ends included."""
        low, high = self.bounds
        points = self.points or (DEFAULT_POINTS if self.log else high - low + 1)
        if points >= high - low + 1:
            return list(range(low, high + 1))
        steps = [i / (points - 1) for i in range(points)]
        if self.log:
            values = {round(low * (high / low) ** step) for step in steps}
        else:
            values = {round(low + step * (high - low)) for step in steps}
        return sorted(values)

    @property
    def grid_size(self) -> int:
        """How many points `grid` gives, which may be more than memory holds."""
        return self.bounds[1] - self.bounds[0] + 1 if self._takes_all else len(self.grid())

    @property
    def _takes_all(self) -> bool:
        return self.points is None and not self.log

    @property
    def _edges(self) -> tuple[float, float]:
        low, high = self.bounds[0] - 0.5, self.bounds[1] + 0.5
        return (math.log(low), math.log(high)) if self.log else (low, high)


class Choice(Conditional):
    """One of several values without an order; `[sgd, adam]` or `{choice: [sgd, adam]}`."""

    choice: tuple[JsonValue, ...] = Field(max_length=MAX_CHOICES)

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:
        return {"choice": data} if isinstance(data, list | tuple) else data

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        if not self.choice:
            raise ValueError("a choice needs at least one value")
        keys = [_key(value) for value in self.choice]
        if len(set(keys)) < len(keys):
            raise ValueError("a choice must not hold the same value twice")
        return self

    @property
    def size(self) -> int | None:
        """How many values there are."""
        return len(self.choice)

    def from_unit(self, u: float) -> JsonValue:
        """The value whose equal share of the unit interval holds u."""
        return self.choice[min(int(u * len(self.choice)), len(self.choice) - 1)]

    def to_unit(self, value: JsonValue) -> float:
        """The middle of the value's share of the unit interval."""
        keys = [_key(other) for other in self.choice]
        return (keys.index(_key(value)) + 0.5) / len(keys)

    def contains(self, value: JsonValue) -> bool:
        """Whether the value is one of the choices; 1, 1.0 and true are three values."""
        return _key(value) in {_key(other) for other in self.choice}

    def grid(self) -> list[JsonValue]:
        """All choices, as written."""
        return list(self.choice)

    @property
    def grid_size(self) -> int:
        """How many choices there are."""
        return len(self.choice)


class Fixed(Conditional):
    """A value that every configuration has; `{fixed: 64}`."""

    fixed: JsonValue

    @property
    def size(self) -> int | None:
        """One."""
        return 1

    def from_unit(self, u: float) -> JsonValue:
        """The value, wherever u lies."""
        return self.fixed

    def to_unit(self, value: JsonValue) -> float:
        """The middle of the unit interval."""
        return 0.5

    def contains(self, value: JsonValue) -> bool:
        """Whether it is the value."""
        return _key(value) == _key(self.fixed)

    def grid(self) -> list[JsonValue]:
        """The one value."""
        return [self.fixed]

    @property
    def grid_size(self) -> int:
        """One."""
        return 1


def _kind(data: Any) -> str | None:
    """Which kind the data means, by the key that only this kind has; capitals, so that errors can leave the tag out."""
    if isinstance(data, Conditional):
        return {
            LogRange: "LOG",
            FloatRange: "FLOAT",
            IntRange: "INT",
            Choice: "CHOICE",
            Fixed: "FIXED",
        }[type(data)]
    if isinstance(data, list | tuple):
        return "CHOICE"
    if isinstance(data, dict):
        return next(
            (key.upper() for key in ("float", "int", "choice", "fixed", "log") if key in data),
            None,
        )
    return None


Parameter = Annotated[
    Annotated[LogRange, Tag("LOG")]
    | Annotated[FloatRange, Tag("FLOAT")]
    | Annotated[IntRange, Tag("INT")]
    | Annotated[Choice, Tag("CHOICE")]
    | Annotated[Fixed, Tag("FIXED")],
    Discriminator(
        _kind,
        custom_error_type="parameter_kind",
        custom_error_message="a parameter is one of {log: [low, high]}, {float: [low, high]}, {int: [low, high]}, "
        "a list of choices, or {fixed: value}",
    ),
]
"""One parameter of a space."""


def extremes(parameter: Parameter) -> tuple[JsonValue, ...]:
    """The values that decide whether all of a parameter's values are accepted: the ends of a range, every choice."""
    if isinstance(parameter, Choice):
        return parameter.choice
    if isinstance(parameter, Fixed):
        return (parameter.fixed,)
    return parameter.bounds


def _parse(text: str) -> Expression:
    try:
        return Expression.parse(text)
    except InvalidExpression as error:
        raise ValueError(f"when: {error}") from error


def _check_bounds(bounds: tuple[float, float], *, log: bool) -> None:
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("bounds must be finite numbers")
    if not math.isfinite(high - low):
        raise ValueError("the range is wider than the largest number; scale the parameter")
    if low >= high:
        raise ValueError(
            f"low must be below high, and {low!r} is not below {high!r}; for one value write {{fixed: {low!r}}}"
        )
    if log and low <= 0:
        raise ValueError(f"a log range needs low > 0, and low is {low!r}; start above zero, or use a linear range")


def _is_number(value: JsonValue) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer that no float reaches
        return False


def _number(value: JsonValue) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise TypeError(f"{value!r} is not a number")


def _key(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)
