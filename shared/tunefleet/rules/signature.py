"""Rules for the user's function: its signature, read from the source without running it, has to fit the space."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from tunefleet.errors import Problem
from tunefleet.model import did_you_mean, shown
from tunefleet.study.parameters import Parameter
from tunefleet.study.spec import FunctionRun

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def function_problems(run: FunctionRun, folder: Path, *, space: Mapping[str, Parameter]) -> Iterator[Problem]:
    """Yield the reasons that the function in the folder is missing, or does not fit the space."""
    found = find(run, folder)
    if isinstance(found, Problem):
        yield found
    elif found is not None:
        yield from signature_problems(found, space)


def find(run: FunctionRun, folder: Path) -> FunctionNode | Problem | None:
    """Return the function's definition, a problem if there is none, or None if the name is not defined by a `def`."""
    module, _, name = run.function.partition(":")
    base = folder.joinpath(*module.split("."))
    file = next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
    if file is None:
        known = sorted(path.stem for path in folder.glob("*.py"))
        return Problem(
            "run.function", f"there is no module {module!r} in {folder}{_offer(module, known)}", shown(run.function)
        )
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
        return Problem(
            "run.function", f"{file}{line} cannot be parsed: {error.msg if isinstance(error, SyntaxError) else error}"
        )
    functions = {node.name: node for node in tree.body if isinstance(node, FunctionNode)}
    if name in functions:
        return functions[name]
    if name in _other_names(tree):
        return None
    return Problem(
        "run.function", f"{file} has no function {name!r}{_offer(name, list(functions))}", shown(run.function)
    )


def rendered(function: FunctionNode) -> str:
    """Return the signature as text: `train(trial, lr, batch_size=64)`."""
    return f"{function.name}({ast.unparse(function.args)})"


def signature_problems(function: FunctionNode, space: Mapping[str, Parameter]) -> Iterator[Problem]:
    """Yield the reasons that `function(trial, **params)` would fail for some configuration of the space."""
    arguments = function.args
    place = f"run.function {rendered(function)}"
    if isinstance(function, ast.AsyncFunctionDef):
        yield Problem(place, "must be a plain function, not an async one")
    positional = [*arguments.posonlyargs, *arguments.args]
    if not positional and not arguments.vararg:
        yield Problem(place, "must take the trial as its first argument")
    defaulted = (
        {argument.arg for argument in positional[len(positional) - len(arguments.defaults) :]}
        if arguments.defaults
        else set()
    )
    defaulted |= {
        a.arg for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is not None
    }
    by_name = {argument.arg for argument in [*arguments.args, *arguments.kwonlyargs]} - {a.arg for a in positional[:1]}
    for name in sorted(by_name - defaulted - space.keys()):
        yield Problem(
            place,
            f"needs {name!r}, but the space has no such parameter{did_you_mean(name, list(space))}; give it a default",
        )
    for argument in arguments.posonlyargs[1:]:
        if argument.arg not in defaulted:
            yield Problem(place, f"takes {argument.arg!r} by position only, but parameters are passed by name")
    for name, parameter in space.items():
        if name not in by_name and arguments.kwarg is None:
            yield Problem(
                f"space.{name}", f"{rendered(function)} does not take it{did_you_mean(name, sorted(by_name))}"
            )
        elif name in by_name - defaulted and parameter.when is not None:
            yield Problem(
                place, f"must have a default for {name!r}, which is left out if {parameter.when!r} is not true"
            )


def _offer(name: str, known: list[str]) -> str:
    return did_you_mean(name, known) if known else ""


def _other_names(tree: ast.Module) -> set[str]:
    """Return the names that the module defines other than by a `def` at the top level; they may be functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
    for node in tree.body:
        if not isinstance(node, FunctionNode):
            names |= {inner.name for inner in ast.walk(node) if isinstance(inner, FunctionNode)}
    return names
