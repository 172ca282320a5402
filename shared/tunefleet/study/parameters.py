"""The kinds of parameters. Each is a frozen model that maps between its values and the unit interval.

Samplers work in the unit cube: `from_unit` maps a coordinate u in [0, 1] to a value, `to_unit` maps a value back. Equal
lengths of the unit interval have equal probability; on a log scale they are equal ratios.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from tunefleet.model import Model
from tunefleet.study.expressions import Expression, InvalidExpression

DEFAULT_POINTS = 5  # of a grid over a real range: enough to see a minimum, and few enough for five parameters
MAX_CHOICES = 1_000
MAX_INT = 2**53  # integers above it are not exact in JSON numbers


class Conditional(Model):
    """The base of all kinds: an optional condition for the parameter to be active."""

    when: str | None = None
    """The parameter is active only in configurations for which this expression is true."""

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
    """Real numbers from low to high, both included; on a log scale unless the kind overrides it."""

    bounds: tuple[float, float]
    points: int = Field(default=DEFAULT_POINTS, ge=2, le=10_000)
    """The number of grid points in the range."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        _check_bounds(self.bounds, log=self.is_log)
        return self

    @property
    def is_log(self) -> bool:
        """True if equal ratios are equally likely, False if equal differences are."""
        return True

    @property
    def size(self) -> int | None:
        """None: real numbers cannot be counted."""
        return None

    def from_unit(self, u: float) -> float:
        """Return the value at u in [0, 1]."""
        low, high = self._edges
        at = low + u * (high - low)
        return min(max(math.exp(at) if self.is_log else at, self.bounds[0]), self.bounds[1])

    def to_unit(self, value: JsonValue) -> float:
        """Return the coordinate in [0, 1] of a value in the range."""
        low, high = self._edges
        at = math.log(_number(value)) if self.is_log else _number(value)
        # The bounds have equal logarithms if they are adjacent floats.
        return (at - low) / (high - low) if high > low else 0.0

    def contains(self, value: JsonValue) -> bool:
        """Return True if the value is in the range."""
        return _is_number(value) and self.bounds[0] <= _number(value) <= self.bounds[1]

    def grid(self) -> list[JsonValue]:
        """Return `points` distinct values with equal steps on the range's scale, both ends included."""
        inner = [self.from_unit(i / (self.points - 1)) for i in range(1, self.points - 1)]
        # Points can coincide if the range holds only a few floats.
        return list(dict.fromkeys([self.bounds[0], *inner, self.bounds[1]]))

    @property
    def grid_size(self) -> int:
        """The number of points that `grid` returns."""
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
        """The value of `log`: linear by default."""
        return self.log


class IntRange(Conditional):
    """Whole numbers from low to high, both included; `{int: [16, 256], log: true}`."""

    bounds: tuple[int, int] = Field(alias="int")
    log: bool = False
    points: int | None = Field(default=None, ge=2, le=10_000)
    """The number of grid points in the range. By default a linear range has all its integers as points."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        _check_bounds(self.bounds, log=self.log)
        if max(abs(bound) for bound in self.bounds) > MAX_INT:
            raise ValueError(f"bounds must be within ±{MAX_INT}, where JSON keeps integers exact")
        return self

    @property
    def size(self) -> int | None:
        """The number of values."""
        return self.bounds[1] - self.bounds[0] + 1

    def from_unit(self, u: float) -> int:
        """Return the integer whose cell contains u in [0, 1].

        Each integer k owns the cell [k - 1/2, k + 1/2) of the range's scale.
        """
        low, high = self._edges
        at = math.exp(low + u * (high - low)) if self.log else low + u * (high - low)
        return min(max(math.floor(at + 0.5), self.bounds[0]), self.bounds[1])

    def to_unit(self, value: JsonValue) -> float:
        """Return the coordinate in [0, 1] of an integer in the range."""
        low, high = self._edges
        at = math.log(_number(value)) if self.log else _number(value)
        return (at - low) / (high - low)

    def contains(self, value: JsonValue) -> bool:
        """Return True if the value is an integer in the range."""
        return isinstance(value, int) and not isinstance(value, bool) and self.bounds[0] <= value <= self.bounds[1]

    def grid(self) -> list[JsonValue]:
        """Return distinct integers with equal steps on the range's scale, both ends included."""
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
        """The number of points that `grid` returns; it can exceed the memory."""
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
        """The number of values."""
        return len(self.choice)

    def from_unit(self, u: float) -> JsonValue:
        """Return the value whose share of the unit interval contains u; all shares are equal."""
        return self.choice[min(int(u * len(self.choice)), len(self.choice) - 1)]

    def to_unit(self, value: JsonValue) -> float:
        """Return the middle of the value's share of the unit interval."""
        keys = [_key(other) for other in self.choice]
        return (keys.index(_key(value)) + 0.5) / len(keys)

    def contains(self, value: JsonValue) -> bool:
        """Return True if the value is one of the choices; 1, 1.0 and true are three different values."""
        return _key(value) in {_key(other) for other in self.choice}

    def grid(self) -> list[JsonValue]:
        """Return all choices, as written."""
        return list(self.choice)

    @property
    def grid_size(self) -> int:
        """The number of choices."""
        return len(self.choice)


class Fixed(Conditional):
    """A value that every configuration has; `{fixed: 64}`."""

    fixed: JsonValue

    @property
    def size(self) -> int | None:
        """One."""
        return 1

    def from_unit(self, u: float) -> JsonValue:
        """Return the value, for any u."""
        return self.fixed

    def to_unit(self, value: JsonValue) -> float:
        """Return the middle of the unit interval."""
        return 0.5

    def contains(self, value: JsonValue) -> bool:
        """Return True if it is the value."""
        return _key(value) == _key(self.fixed)

    def grid(self) -> list[JsonValue]:
        """Return the one value."""
        return [self.fixed]

    @property
    def grid_size(self) -> int:
        """One."""
        return 1


def _kind(data: Any) -> str | None:
    """Return the kind by its distinctive key, in capitals so that `problem_of` can leave the tag out of a field."""
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
    """Return the values that decide whether a parameter is accepted: the ends of a range, or all choices."""
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
        raise ValueError("the width of the range is larger than the largest float; rescale the parameter")
    if low >= high:
        raise ValueError(
            f"low must be below high, but {low!r} is not below {high!r}; for one value write {{fixed: {low!r}}}"
        )
    if log and low <= 0:
        raise ValueError(f"a log range needs low > 0, but low is {low!r}; start above zero, or use a linear range")


def _is_number(value: JsonValue) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


def _number(value: JsonValue) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise TypeError(f"{value!r} is not a number")


def _key(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)
