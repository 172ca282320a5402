"""Study files in YAML or JSON, parsed into a StudySpec."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import problems_of
from tunefleet.rules.code import code_problems
from tunefleet.rules.review import review
from tunefleet.study.spec import BUNDLE_PREFIX, Preflight, StudySpec
from tunefleet.study.yaml import Place, load

MAX_FILE_BYTES = 1_000_000
_HINT = "`tunefleet check FILE` lists every problem; docs/study.md describes every key."


@dataclass(frozen=True, slots=True)
class StudyFile:
    """A study, with the line of each key in its file."""

    path: Path
    spec: StudySpec
    lines: Mapping[Place, int]

    def with_lines(self, problems: Iterable[Problem]) -> list[Problem]:
        """Return the problems with file and line before their fields."""
        return [_with_line(problem, self.path, self.lines) for problem in problems]


def read_study(path: Path | str) -> StudyFile:
    """Read a study from a `.yaml`, `.yml` or `.json` file; a relative `code` is relative to the file's folder.

    Raises:
        InvalidInput: the file does not exist, does not parse, or breaks a rule; each problem names file, line and
            field.
    """
    file = Path(path)
    data, lines = _parsed(file, _text(file))
    if not isinstance(data, dict):
        raise InvalidInput(
            [Problem(str(file), "a study is a mapping with at least name, objective, run and space")], hint=_HINT
        )
    try:
        spec = StudySpec.model_validate(data)
    except ValidationError as error:
        raise InvalidInput([_with_line(problem, file, lines) for problem in problems_of(error)], hint=_HINT) from error
    return StudyFile(file, with_code(spec, lambda code: str((file.parent / code).resolve())), lines)


def load_study(path: Path | str) -> StudySpec:
    """Return the spec of a study file. Raises what `read_study` raises."""
    return read_study(path).spec


def load_checked_study(path: Path | str) -> StudySpec:
    """Return the spec of a study file that passes every check before submission.

    Raises:
        InvalidInput: as `read_study`; also when the study, its function or its code folder breaks a rule.
        NotAvailableYet: the study uses a feature that this version does not have.
    """
    file = read_study(path)
    try:
        refuse_invalid_study(file.spec)
    except InvalidInput as error:
        raise type(error)(file.with_lines(error.problems), hint=error.hint) from error
    return file.spec


def refuse_invalid_study(spec: StudySpec) -> None:
    """Check a study without a file, and raise what `load_checked_study` raises."""
    review(spec).refuse()
    if problems := code_problems(spec):
        raise InvalidInput(problems)


def with_code(spec: StudySpec, convert: Callable[[str], str]) -> StudySpec:
    """Return the spec with `run.code` replaced by `convert(code)`; the same spec when its code is not a folder."""
    code = getattr(spec.run, "code", None)
    if code is None or code.startswith(BUNDLE_PREFIX):
        return spec
    return spec.model_copy(update={"run": spec.run.model_copy(update={"code": convert(code)})})


def with_preflight(spec: StudySpec, wanted: bool | None) -> StudySpec:
    """Return the spec with a preflight (its own settings, or else the defaults) or without one; None: unchanged.

    Raises:
        InvalidInput: the study cannot have a preflight.
    """
    if wanted is None or wanted == (spec.preflight is not None):
        return spec
    changed = spec.model_copy(update={"preflight": Preflight() if wanted else None})
    review(changed).refuse()
    return changed


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise InvalidInput([Problem(str(file), f"a study file has at most {MAX_FILE_BYTES:,} bytes")])
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidInput([Problem(str(file), f"cannot be read: {reason.lower()}")]) from error


def _parsed(file: Path, text: str) -> tuple[Any, Mapping[Place, int]]:
    try:
        if file.suffix.lower() == ".json":
            return json.loads(text, object_pairs_hook=_refuse_duplicate_keys, parse_constant=_refuse_constant), {}
        return load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}" if mark else str(file)
        raise InvalidInput([Problem(place, error.problem or error.context or "is not valid YAML")]) from error
    except json.JSONDecodeError as error:
        raise InvalidInput([Problem(f"{file}:{error.lineno}", f"is not valid JSON: {error.msg.lower()}")]) from error
    except RecursionError as error:
        raise InvalidInput([Problem(str(file), "is nested too deeply")]) from error
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidInput([Problem(str(file), str(error))]) from error


def _refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise ValueError(f"the key {key!r} occurs twice")
        data[key] = value
    return data


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _with_line(problem: Problem, file: Path, lines: Mapping[Place, int]) -> Problem:
    """Return the problem with file and line before its field; the line is that of the nearest key in the file."""
    place = tuple(problem.field.split(".")) if problem.field else ()
    while place and place not in lines:
        place = place[:-1]
    line = lines.get(place)
    where = f"{file}:{line}" if line and (place or not problem.field) else str(file)
    return Problem(f"{where}: {problem.field}" if problem.field else where, problem.rule, problem.value)
