"""Rules for studies that run a command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from tunefleet.errors import Problem
from tunefleet.model import did_you_mean, shown
from tunefleet.study.spec import CommandRun, StudySpec

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")


def command_problems(spec: StudySpec) -> Iterator[Problem]:
    """Yield the problems of the words and placeholders of `run.command`."""
    if not isinstance(spec.run, CommandRun):
        return
    try:
        words = shlex.split(spec.run.command)
    except ValueError as error:
        yield Problem("run.command", f"cannot be split into words: {str(error).lower()}", shown(spec.run.command))
        return
    if not words:
        yield Problem("run.command", "is empty; write the program and its arguments")
    for word in words:
        yield from _word_problems(word, spec)


def _word_problems(word: str, spec: StudySpec) -> Iterator[Problem]:
    for name in _PLACEHOLDER.findall(word):
        if name not in spec.space:
            yield Problem(
                "run.command", f"{{{name}}} is not a parameter of the space{did_you_mean(name, list(spec.space))}"
            )
        elif word == f"{{{name}}}" and spec.space[name].when is not None:
            rule = (
                f"the word {{{name}}} is left out if {spec.space[name].when!r} is not true, and an option before it "
                f"would take the next word as its value; write --{name}={{{name}}}, which is left out as a whole, or "
                "read the parameter from the environment"
            )
            yield Problem("run.command", rule)
