"""Rules for the code of a study: a folder on the user's machine, a bundle on the wire."""

from __future__ import annotations

import re
from pathlib import Path

from tunefleet.errors import Problem
from tunefleet.model import shown
from tunefleet.names import HASH_PATTERN
from tunefleet.rules.signature import function_problems
from tunefleet.study.spec import BUNDLE_PREFIX, FunctionRun, StudySpec


def code_problems(spec: StudySpec) -> list[Problem]:
    """Return the mismatches between a study and its folder of code; empty if `run.code` is not a folder."""
    code = getattr(spec.run, "code", None)
    if code is None or code.startswith(BUNDLE_PREFIX):
        return []
    folder = Path(code)
    if not folder.is_dir():
        return [Problem("run.code", "there is no such folder", shown(code))]
    return list(function_problems(spec.run, folder, space=spec.space)) if isinstance(spec.run, FunctionRun) else []


def wire_problems(spec: StudySpec) -> list[Problem]:
    """Refuse a folder as `run.code`: a master takes code as a bundle only, because it cannot read a user's folder."""
    code = getattr(spec.run, "code", None)
    if code is None or re.fullmatch(BUNDLE_PREFIX + HASH_PATTERN.strip("^$"), code):
        return []
    rule = (
        f"must be '{BUNDLE_PREFIX}' and the hash of an uploaded bundle; "
        "`tunefleet submit` and Client.submit upload a folder for you"
    )
    return [Problem("run.code", rule, shown(code))]
