"""The docstrings of a class's fields, read from its source; only generated schemas need them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise


@cache
def texts_of(cls: type) -> dict[str, str]:
    """Return the docstrings by field, inherited ones included; empty for a class without source."""
    inherited = {name: text for base in reversed(cls.__mro__[1:-1]) for name, text in texts_of(base).items()}
    return {**inherited, **_own_texts(cls)}


def _own_texts(cls: type) -> dict[str, str]:
    try:
        [found] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (
        OSError,
        TypeError,
        SyntaxError,
    ):  # SyntaxError: a class in a function, with an unindented docstring
        return {}
    assert isinstance(found, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(found.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
