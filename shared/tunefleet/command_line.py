"""The command of a `command:` study: which parameters it names, and what it becomes for one configuration.

A command is split into arguments as a shell splits it, before anything is put in, so that no value can turn into a second
argument or another program; no shell runs it. `{name}` stands for a parameter, other braces stand for themselves. An
argument that holds a parameter which is not active in a configuration is left out of it: `--momentum={momentum}` comes
and goes as a whole.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Mapping

from pydantic import JsonValue

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")


def tokens(command: str) -> list[str]:
    """The arguments, placeholders and all.

    Raises:
        ValueError: a quotation mark is not closed.
    """
    return shlex.split(command)


def placeholders(text: str) -> list[str]:
    """The names in braces, each as often as it stands there."""
    return _PLACEHOLDER.findall(text)


def arguments(command: str, params: Mapping[str, JsonValue], known: Collection[str]) -> list[str]:
    """The arguments to run for one configuration.

    Args:
        command: as the study has it.
        params: the active parameters.
        known: the names that are parameters, active or not; other names in braces stay as they are.
    """
    return [
        _PLACEHOLDER.sub(lambda match: _text(params[match[1]]) if match[1] in known else match[0], token)
        for token in tokens(command)
        if all(name in params for name in placeholders(token) if name in known)
    ]


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)
