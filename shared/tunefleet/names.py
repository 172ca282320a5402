"""Types of names and ids. No valid name can escape from a folder, a URL segment or a log line."""

from __future__ import annotations

import keyword
import re
from typing import Annotated, NewType

from pydantic import AfterValidator, StringConstraints, WithJsonSchema

TrialId = NewType("TrialId", int)
"""A trial's id within one database; its `number` counts within its study."""

MAX_ID = 2**31 - 1
"""The largest id, trial number and attempt number: the largest integer in a Postgres column."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$"
"""Letters, digits, `_`, `.` and `-`; the first character is a letter or a digit; at most 100 characters."""

HASH_PATTERN = r"^[0-9a-f]{64}$"
"""A sha256 in lower-case hexadecimal digits."""

RESERVED_PARAMETERS = frozenset({"trial", "self", "steps", "seed"})


def _check_parameter(name: str) -> str:
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise ValueError("a parameter's name must be a Python identifier, because it becomes the name of an argument")
    if name in RESERVED_PARAMETERS:
        raise ValueError(f"{name!r} is a reserved name; choose another one")
    return name


def matching(pattern: str, rule: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Return a check that fails with `rule` as its message, and its pattern in the JSON Schema."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None or ".." in text:
            raise ValueError(rule)
        return text

    return AfterValidator(check), WithJsonSchema({"type": "string", "pattern": pattern})


Name = Annotated[
    str,
    *matching(
        NAME_PATTERN,
        "a name begins with a letter or a digit, continues with letters, digits, '_', '-' and '.' (not '..'), "
        "and has at most 100 characters",
    ),
]
"""The name of a study, a worker, a label or an artifact."""

ParameterName = Annotated[str, StringConstraints(max_length=64), AfterValidator(_check_parameter)]
"""The name of a parameter."""

MetricName = Annotated[
    str,
    *matching(
        r"^[A-Za-z_][A-Za-z0-9_./@\-]{0,99}$",
        "a metric's name begins with a letter or '_', continues with letters, digits and _ . / @ -, "
        "and has at most 100 characters",
    ),
]
"""The name of a metric."""

Hash = Annotated[str, *matching(HASH_PATTERN, "a sha256 has 64 hexadecimal digits in lower case")]
"""A sha256."""
