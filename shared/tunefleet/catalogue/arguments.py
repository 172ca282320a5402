"""Arguments of built-in tasks: a pydantic model declares them once, and rules read facts that are derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType, NoneType
from typing import Any, Literal, Self, get_args, get_origin

import annotated_types
from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from tunefleet.errors import InvalidInput
from tunefleet.model import Model

Kind = Literal["float", "int", "choice", "flag"]


class Mark(Enum):
    """A fact about an argument, given as `Annotated` metadata of its field."""

    SHAPES = "shapes"
    """Weights and moments that were trained with one value do not fit another."""
    OPTION = "option"
    """The argument is a key of `run` and not a parameter of the space."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The choices of a text that another table of the catalogue lists, given as `Annotated` metadata of a field."""

    choices: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        """Refuse any other text."""
        return core_schema.literal_schema(list(self.choices))


@dataclass(frozen=True, slots=True)
class TaskParameter:
    """A parameter that a space may search. It is required if it has no default, unless it is optional."""

    kind: Kind
    default: JsonValue = None
    choices: tuple[str, ...] = ()
    low: float | None = None
    """The smallest value."""
    above: float | None = None
    """A bound that every value exceeds."""
    high: float | None = None
    """The largest value."""
    below: float | None = None
    """A bound that no value reaches."""
    shapes: bool = False
    """True if weights and moments that were trained with one value do not fit another."""
    optional: bool = False
    """True if a configuration may omit it although it has no default."""

    @property
    def is_required(self) -> bool:
        """True if every configuration must have it."""
        return self.default is None and not self.optional

    def broken_rule(self, value: JsonValue) -> str | None:
        """Return the rule that the value breaks; None if the task accepts it."""
        if self.kind == "choice":
            return None if value in self.choices else f"the task offers {', '.join(self.choices)}"
        if self.kind == "flag":
            return None if isinstance(value, bool) else "the task takes true or false here"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "the task takes a number here"
        if self.kind == "int" and not isinstance(value, int):
            return "the task takes whole numbers here; write {int: [low, high]}"
        return self._broken_bound(value)

    def _broken_bound(self, value: float) -> str | None:
        bounds = (
            (self.low, "at least", self.low is not None and value < self.low),
            (self.above, "above", self.above is not None and value <= self.above),
            (self.high, "at most", self.high is not None and value > self.high),
            (self.below, "below", self.below is not None and value >= self.below),
        )
        return next(
            (
                f"the task takes values {words} {bound:g}"
                for bound, words, broken in bounds
                if broken and bound is not None
            ),
            None,
        )


@dataclass(frozen=True, slots=True)
class TaskOption:
    """A key of `run` other than `task`."""

    choices: tuple[str, ...] = ()
    """The values that it may have; any text if empty."""
    is_required: bool = False


class TaskArguments(Model):
    """All arguments of a task: the parameters of the space, and the options of `run`.

    A field states its type, its bounds and its default. A field without a default is required. Metadata states the
    rest: `Annotated[int, Mark.SHAPES]`, `Annotated[str, OneOf(names)]`.
    """

    @classmethod
    def of(cls, options: Mapping[str, Any], arguments: Mapping[str, Any]) -> Self:
        """Parse the arguments of a call. Options of `run` replace arguments that are missing or None.

        Raises:
            InvalidInput: an argument is unknown, missing or wrong; an option is named as `run.NAME`.
        """
        named = options_of(cls)
        given = {name: options[name] for name in named if name in options}
        given |= {name: value for name, value in arguments.items() if value is not None}
        try:
            return cls.parse(given)
        except InvalidInput as error:
            problems = [replace(it, field=f"run.{it.field}") if it.field in named else it for it in error.problems]
            raise InvalidInput(problems) from error

    def part(self, part: type[BaseModel]) -> dict[str, Any]:
        """Return the values of the fields that a part of the arguments declares."""
        return {name: getattr(self, name) for name in part.model_fields}


def parameters_of(arguments: type[TaskArguments]) -> Mapping[str, TaskParameter]:
    """Return the parameters that a space may search, by name."""
    fields = arguments.model_fields.items()
    return MappingProxyType({name: _parameter(it) for name, it in fields if Mark.OPTION not in it.metadata})


def options_of(arguments: type[TaskArguments]) -> Mapping[str, TaskOption]:
    """Return the options of `run`, by name."""
    fields = {name: it for name, it in arguments.model_fields.items() if Mark.OPTION in it.metadata}
    return MappingProxyType({name: TaskOption(_choices(it), it.is_required()) for name, it in fields.items()})


def _parameter(field: FieldInfo) -> TaskParameter:
    bounds = {key: value for each in field.metadata for key, value in _bound(each).items()}
    is_required = field.is_required()
    return TaskParameter(
        _kind(field),
        None if is_required else field.default,
        choices=_choices(field),
        shapes=Mark.SHAPES in field.metadata,
        optional=not is_required and field.default is None,
        **bounds,
    )


def _kind(field: FieldInfo) -> Kind:
    if _choices(field):
        return "choice"
    kinds: dict[object, Kind] = {float: "float", int: "int", bool: "flag"}
    [plain] = [each for each in get_args(field.annotation) or [field.annotation] if each is not NoneType]
    return kinds[plain]


def _choices(field: FieldInfo) -> tuple[str, ...]:
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)
    return next((each.choices for each in field.metadata if isinstance(each, OneOf)), ())


def _bound(metadata: object) -> dict[str, Any]:
    match metadata:
        case annotated_types.Ge(ge=bound):
            return {"low": bound}
        case annotated_types.Gt(gt=bound):
            return {"above": bound}
        case annotated_types.Le(le=bound):
            return {"high": bound}
        case annotated_types.Lt(lt=bound):
            return {"below": bound}
    return {}
