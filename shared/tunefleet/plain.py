"""What can be kept and sent everywhere: one rule for text and data that come from outside.

Postgres keeps no NUL, UTF-8 has no half of a surrogate pair, JSON has no NaN, and a parser's stack ends somewhere. Text
that tells how a trial ended is made storable, since a result must not be lost for it. Everything else is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from tunefleet.model import NOT_PLAIN, Model, shown

MAX_DEPTH = 20  # levels of lists and objects: a study has five, and a choice may hold a small structure
MAX_INT = 2**63 - 1  # what databases and most languages call an integer
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_NO_TEXT = "must not hold a NUL, or half of a surrogate pair"


def storable(text: str) -> str:
    """The text with U+FFFD for each character that cannot be kept: NUL, and halves of surrogate pairs."""
    return _UNSTORABLE.sub("\ufffd", text)


def _mended(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


def _whole(text: str) -> str:
    if _UNSTORABLE.search(text):
        raise ValueError(_NO_TEXT)
    return text


FreeText = Annotated[str, BeforeValidator(_mended)]
"""What a machine or a crash says of itself: kept as far as it can be."""

PlainText = Annotated[str, AfterValidator(_whole)]
"""Text with a meaning; what cannot be kept as it is is refused."""


class Plain(Model):
    """A model of data that somebody wrote: refused where it holds what cannot be kept or sent as it stands."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_not_plain(cls, data: Any) -> Any:
        for place, value, rule in _broken_rules(data, ()):
            context = {"rule": rule, "keys": [".".join(place)], "value": shown(value)}
            raise PydanticCustomError(NOT_PLAIN, "{rule}", context)
        return data


def _broken_rules(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object, str]]:
    """Where a rule is broken, what stands there, and the rule."""
    if len(place) > MAX_DEPTH:
        yield place[:3], "…", f"is nested deeper than {MAX_DEPTH} levels"
    elif isinstance(value, str) and _UNSTORABLE.search(value):
        yield place, value, _NO_TEXT
    elif isinstance(value, float) and not math.isfinite(value):
        yield place, value, "must be a finite number; JSON has no NaN and no infinity"
    elif isinstance(value, int) and abs(value) > MAX_INT:
        yield place, value, "is a larger integer than can be kept exactly"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _broken_rules(key, (*place, str(key)))
            yield from _broken_rules(inner, (*place, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _broken_rules(inner, (*place, str(index)))
