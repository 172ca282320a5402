"""Loader of a study's training function, and the check of its signature."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tunefleet.errors import InvalidInput, Problem, TunefleetError
from tunefleet.model import did_you_mean
from tunefleet.study.spec import CommandRun, StudySpec, TaskRun

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class LoadError(TunefleetError):
    """The study's function does not exist, or does not accept the study's parameters."""

    code = "load"


def load_function(target: str, folder: Path | None) -> Callable[..., object]:
    """Import `module:name`. Errors that the module raises during its import are not caught.

    Args:
        target: the function, `module:name`.
        folder: the study's unpacked code; None: the function is installed on this worker.

    Raises:
        LoadError: the module or function does not exist, or the module imports a package that is not installed.
    """
    module_name, _, name = target.partition(":")
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise LoadError(
                f"there is no module {error.name!r} for the function {target!r}{_offer(folder)}."
            ) from error
        raise LoadError(
            f"the module {module_name!r} imports {error.name!r}, which is not installed on this worker.",
            hint="Install it there, or put it into the study's folder.",
        ) from error
    function = getattr(module, name, None)
    if function is None:
        known = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        offer = did_you_mean(name, known) if known else "; it defines no function"
        raise LoadError(
            f"the module {module_name!r} ({_place(module.__file__, folder)}) has no function {name!r}{offer}."
        )
    if not callable(function):
        raise LoadError(f"{target!r} is a {type(function).__name__}, and not a function.")
    return function  # type: ignore[no-any-return]


def check_signature(function: Callable[..., object], names: Iterable[str], *, target: str) -> None:
    """Check that `function(trial, **params)` accepts a configuration with these parameters.

    Raises:
        LoadError: with every missing and every unexpected argument.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a function that is not written in Python may have no signature
        return
    given = set(names)
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    ):
        raise LoadError(
            f"{target!r} takes no positional argument, and the first one is the trial: def train(trial, ...)."
        )
    named = {each.name: each for each in parameters[1:] if each.kind in _NAMED}
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    unexpected = [] if takes_all else sorted(given - named.keys())
    missing = [name for name, each in named.items() if each.default is inspect.Parameter.empty and name not in given]
    if unexpected or missing:
        raise LoadError(f"{target!r} does not fit the study's parameters: {_misfit(missing, unexpected, list(named))}.")


def load_local(spec: StudySpec) -> Callable[..., object]:
    """Return the training function of a study's file, for runs without a master. Enters its folder as a worker does.

    Raises:
        InvalidInput: the study runs a program. NotFound: there is no such task. LoadError: see `load_function`.
    """
    from tunefleet_worker.tasks.registry import load_task

    if isinstance(spec.run, CommandRun):
        rule = "runs a program, which the check cannot inspect; use a function or a built-in task"
        raise InvalidInput([Problem("run.command", rule)])
    if isinstance(spec.run, TaskRun):
        return load_task(spec.run.task)
    if spec.run.code is None:
        return load_function(spec.run.function, None)
    folder = Path(spec.run.code)
    enter_folder(folder)
    os.chdir(folder)
    return load_function(spec.run.function, folder)


def enter_folder(folder: Path) -> None:
    """Put a code folder first on the import path, as `python script.py` does."""
    sys.path.insert(0, str(folder))


def _misfit(missing: list[str], unexpected: list[str], known: list[str]) -> str:
    parts = []
    if unexpected:
        shown = ", ".join(f"{name!r}{did_you_mean(name, known) if known else ''}" for name in unexpected)
        parts.append(f"it has no argument {shown}")
    if missing:
        names = ", ".join(repr(name) for name in missing)
        parts.append(
            f"its argument {names} gets no value in this configuration (give it a default: a parameter with `when` is"
            " not in every configuration)"
        )
    return "; ".join(parts)


def _offer(folder: Path | None) -> str:
    if folder is None:
        return " on this worker; `code: .` in the study sends your folder along"
    modules = sorted(path.stem for path in folder.glob("*.py"))
    modules += sorted(path.parent.name for path in folder.glob("*/__init__.py"))
    return f" in the study's folder; it has {', '.join(modules[:20]) or 'no module'}"


def _place(file: str | None, folder: Path | None) -> str:
    if file is None:
        return "a folder without __init__.py"
    path = Path(file)
    return str(path.relative_to(folder)) if folder is not None and path.is_relative_to(folder) else str(path)
