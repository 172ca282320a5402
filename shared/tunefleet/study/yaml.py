"""A loader for YAML with the plain values of version 1.2 and the line of every key.

PyYAML follows version 1.1, where `1e-6` is text, `on` is true and `1:30` is 90. Here `1e-6` is a number, and only
`true` and `false` are booleans. A duplicate key is an error, because one of the two values would be lost silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

Place = tuple[str, ...]
"""The keys and indices that lead to a value."""


class _Loader(yaml.SafeLoader):
    """A SafeLoader with the core schema of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping with unique text keys."""
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key!r} is not text; put it in quotes", problem_mark=key_node.start_mark
                )
            if key in seen:
                problem = f"the key {key!r} occurs twice, first in line {seen[key]}"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key_node.start_mark)
            seen[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep=deep)

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """Return an integer, written as decimal, 0o octal or 0x hexadecimal."""
        text = node.value
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def construct_real(self, node: yaml.ScalarNode) -> float:
        """Return a number with a point or an exponent, or .inf, .nan."""
        return float(
            node.value.replace(".inf", "inf").replace(".nan", "nan").replace(".Inf", "inf").replace(".NaN", "nan")
        )


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)", "-+0123456789."),
):
    _firsts = [first for first in _first if first != "\0"] + ([""] if "\0" in _first else [])
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _firsts)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_real)


def load(text: str) -> tuple[Any, dict[Place, int]]:
    """Return the data, and the line (from 1) of every place in it.

    Raises:
        yaml.YAMLError: the text is not YAML, or has several documents, tags that need code, or a duplicate key.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        return loader.construct_document(node), dict(_lines(node, ()))
    finally:
        loader.dispose()


def _lines(node: yaml.Node, place: Place) -> Iterator[tuple[Place, int]]:
    yield place, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            at = (*place, str(key.value))
            yield from _lines(value, at)
            yield at, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*place, str(index)))
