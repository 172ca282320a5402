"""The base class of specs and messages: frozen, closed, with errors that a user can act on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any, Self, cast

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError

from tunefleet.errors import InvalidInput, Problem
from tunefleet.field_texts import texts_of

NOT_PLAIN = "not_plain"
"""The type of an error that has the `rule`, the `value` as shown and the field in `keys` as its context."""

ABSENT = "absent"
"""The type of an error for a missing key; `key` of its context is the name that users write."""

MAX_SHOWN = 80  # characters of a wrong value in a message: enough to find it, too few to flood a terminal


class Model(BaseModel):
    """A frozen pydantic model that refuses unknown keys and suggests the likely known key."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        ser_json_inf_nan="strings",
        populate_by_name=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        names = _names_of(cls)
        if isinstance(data, dict) and data.keys() <= names:  # the usual case, checked for every message
            return data
        if cls.model_config.get("extra") != "forbid" or not isinstance(data, Mapping):
            return data
        unknown = [str(key) for key in data if key not in names]
        if unknown:
            known = [field.alias or name for name, field in cls.model_fields.items()]
            raise PydanticCustomError(
                "unknown_key",
                "{rule}",
                {"rule": _unknown_rule(unknown, known), "keys": unknown},
            )
        return data

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe each field by the text below it.

        Pydantic's own `use_attribute_docstrings` reads all sources on import, which takes a third of a client's start.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        texts = texts_of(cls)
        for name, field in cls.model_fields.items():
            shown_as = properties.get(field.alias or name, properties.get(name))
            if name in texts and shown_as is not None:
                shown_as.setdefault("description", texts[name])
        return schema

    @classmethod
    def parse(cls, data: object, *, field: str = "") -> Self:
        """Build the model from plain data.

        Args:
            data: the output of a JSON or YAML parser.
            field: the field that holds the data; errors name fields below it.

        Raises:
            InvalidInput: the data breaks rules; there is one problem for each.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise InvalidInput(problems_of(error, field=field)) from error


@cache
def _names_of(model: type[BaseModel]) -> frozenset[str]:
    """Return the valid keys of the model; cached, because every message needs them."""
    keys = {field.alias or name for name, field in model.model_fields.items()}
    return frozenset({*keys, *model.model_fields} if model.model_config.get("populate_by_name") else keys)


def problems_of(error: ValidationError, *, field: str = "") -> list[Problem]:
    """Turn pydantic's errors into problems: a dotted field, its value, and the rule."""
    return [problem_of(cast("dict[str, Any]", details), field=field) for details in error.errors()]


def problem_of(details: ErrorDetails | Mapping[str, Any], *, field: str = "") -> Problem:
    """Turn one of pydantic's error details into a problem; `field` is prefixed to its own location."""
    context = details.get("ctx") or {}
    place = [field] if field else []
    # `loc` mixes keys with the tags of discriminated unions, which are in capitals; users know only the keys.
    place += [str(part) for part in details["loc"] if not str(part).isupper() and part != "[key]"]
    if details["type"] in ("unknown_key", NOT_PLAIN):
        place += context["keys"][:1]
        return Problem(_field(place), str(context["rule"]), context.get("value"))
    if details["type"] == ABSENT:
        return Problem(_field([*place[:-1], str(context["key"])]), "is required")
    if details["type"] == "missing":
        return Problem(_field(place), "is required")
    rule = str(details["msg"]).removeprefix("Value error, ")
    # A rule on the whole document names its own fields; the document itself would be too long to show.
    value = shown(details.get("input")) if place else None
    return Problem(_field(place), rule[:1].lower() + rule[1:], value)


def _field(place: list[str]) -> str:
    """Return the dotted field; lone surrogates are escaped, because they cannot be encoded."""
    return ".".join(place).encode("utf-8", "backslashreplace").decode()


def shown(value: object) -> str:
    """Return a value for an error message, cut to fit one line."""
    try:
        text = repr(value)
    except RecursionError:
        text = "a value nested too deeply to be shown"
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def counted(n: int, noun: str) -> str:
    """Return the number and the noun, such as `1 step` or `2 steps`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def did_you_mean(name: str, known: list[str]) -> str:
    """Return `; did you mean 'sampler'?`, or the list of known names if none is similar."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(sorted(known))}"


def _unknown_rule(unknown: list[str], known: list[str]) -> str:
    return "; ".join(f"unknown key {key!r}{did_you_mean(key, known)}" for key in unknown)
