"""Rules for the preflight of a study."""

from __future__ import annotations

from collections.abc import Iterator

from tunefleet.errors import Problem
from tunefleet.study.preflight_configurations import preflight_configurations
from tunefleet.study.spec import CommandRun, StudySpec


def preflight_problems(spec: StudySpec) -> Iterator[Problem]:
    """Refuse a preflight of a command, or of a space in which no configuration is found."""
    if spec.preflight is None:
        return
    if isinstance(spec.run, CommandRun):
        rule = "inspects the training of built-in tasks and functions, but cannot inspect a command; leave it out"
        yield Problem("preflight", rule)
    elif not preflight_configurations(spec):
        yield Problem("preflight", "finds no configuration that the constraints allow; loosen them, or leave it out")
