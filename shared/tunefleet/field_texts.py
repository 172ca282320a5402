"""The texts that stand below the fields of a class, read from its source: only a schema for people needs them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise


@cache
def texts_of(cls: type) -> dict[str, str]:
    """By field, its own and those it inherits; none of a class without source, such as a generic one made concrete."""
    inherited = {name: text for base in reversed(cls.__mro__[1:-1]) for name, text in texts_of(base).items()}
    return {**inherited, **_own_texts(cls)}


def _own_texts(cls: type) -> dict[str, str]:
    try:
        [found] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError):  # the last of a class within a function, with a text that is not indented
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
