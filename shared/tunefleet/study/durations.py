"""Durations as users write them: `90s`, `30m`, `2h`, `1d`, or a number of seconds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PATTERN = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([smhd])\s*$")


def seconds(value: Any) -> Any:
    """Return `"2h"` as 7200.0, and numbers unchanged. Raises ValueError for any other text."""
    if not isinstance(value, str):
        return value
    match = _PATTERN.match(value)
    if match is None:
        raise ValueError(
            "a duration is a number of seconds, or a number followed by s, m, h or d, such as '90s' or '2h'"
        )
    return float(match[1]) * _UNITS_S[match[2]]


def spoken(duration_s: float) -> str:
    """Return a duration as readable text: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(duration_s)
    if whole < 60:
        return f"{duration_s:.1f} s" if duration_s < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


Seconds = Annotated[
    float,
    BeforeValidator(seconds),
    Field(gt=0, le=366 * 86_400, allow_inf_nan=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": _PATTERN.pattern},
            ]
        }
    ),
]
"""A positive duration in seconds."""
