"""Text and data that can be stored and sent everywhere: one rule for all input.

Postgres stores no NUL, UTF-8 has no lone surrogates, JSON has no NaN, and the stack of a parser is limited. Text that
describes the end of a trial is repaired, so that no result is lost over it. All other input is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from tunefleet.model import NOT_PLAIN, Model, shown

MAX_DEPTH = 20  # levels of lists and objects: a study has five, and a choice may hold a nested value
MAX_INT = 2**63 - 1  # the largest integer in databases and most languages
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_NO_TEXT = "must not contain a NUL or a lone surrogate"


def storable(text: str) -> str:
    """Return the text with U+FFFD for each character that cannot be stored: NUL and lone surrogates."""
    return _UNSTORABLE.sub("\ufffd", text)


def _mended(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


def _whole(text: str) -> str:
    if _UNSTORABLE.search(text):
        raise ValueError(_NO_TEXT)
    return text


FreeText = Annotated[str, BeforeValidator(_mended)]
"""Text from a machine or a crash; characters that cannot be stored are replaced."""

PlainText = Annotated[str, AfterValidator(_whole)]
"""Text from a user; it is refused if it cannot be stored unchanged."""


class Plain(Model):
    """A model of data from a user; it is refused if it cannot be stored and sent unchanged."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_not_plain(cls, data: Any) -> Any:
        for place, value, rule in _broken_rules(data, ()):
            context = {"rule": rule, "keys": [".".join(place)], "value": shown(value)}
            raise PydanticCustomError(NOT_PLAIN, "{rule}", context)
        return data


def _broken_rules(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object, str]]:
    """Yield the field, the value and the rule of each violation."""
    if len(place) > MAX_DEPTH:
        yield place[:3], "…", f"is nested deeper than {MAX_DEPTH} levels"
    elif isinstance(value, str) and _UNSTORABLE.search(value):
        yield place, value, _NO_TEXT
    elif isinstance(value, float) and not math.isfinite(value):
        yield place, value, "must be a finite number; JSON has no NaN and no infinity"
    elif isinstance(value, int) and abs(value) > MAX_INT:
        yield place, value, f"must be from {-MAX_INT} to {MAX_INT}; larger integers cannot be stored exactly"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _broken_rules(key, (*place, str(key)))
            yield from _broken_rules(inner, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _broken_rules(inner, (*place, str(index)))
