"""No file, function or signature grows past what a reader holds at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator

MAX_FILE_LINES = 400
MAX_BODY_LINES = 40
MAX_BRANCHES = 10
MAX_PARAMETERS = 6
MAX_POSITIONAL = 2

BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

# Somebody else calls these and decides how: a web framework by route, typer by option, SQLAlchemy by event.
GIVEN_SIGNATURE = {
    *("get", "post", "put", "patch", "delete", "head", "api_route", "middleware", "exception_handler"),
    *("command", "callback"),
    *("listens_for", "override"),
}

# What a function of a service or of storage works on, as a method works on self.
RECEIVERS = {"uow", "connection", "session", "parts", "transport"}

# A training function takes its trial and then a study's parameters by name, as many as the study has.
TRAINING_FOLDERS = ("worker/tunefleet_worker/tasks/", "examples/", "benchmarks/")

# A migration lists tables from top to bottom; cutting the list would hide its order.
MIGRATIONS = "master/tunefleet_master/storage/migrations/versions/"


def _branches(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            continue
        if isinstance(child, BRANCHES):
            yield child
        yield from _branches(child)


def _has_given_signature(function) -> bool:
    name = function.node.name
    if name.startswith("__") and name.endswith("__") and name != "__init__":
        return True
    if function.where.startswith(TRAINING_FOLDERS) and [a.arg for a in function.node.args.args][:1] == ["trial"]:
        return not _is_private(function)
    return any(decorator.rpartition(".")[2] in GIVEN_SIGNATURE for decorator in function.decorators)


def _positional(function) -> int:
    """How many arguments can be given by place, the receiver not counted."""
    arguments = [*function.node.args.posonlyargs, *function.node.args.args]
    is_bound = function.is_method and "staticmethod" not in function.decorators
    has_receiver = is_bound or (bool(arguments) and arguments[0].arg in RECEIVERS)
    return len(arguments) - 1 if has_receiver else len(arguments)


def _is_private(function) -> bool:
    name: str = function.node.name
    return name.startswith("_") and name != "__init__"


def test_no_file_is_longer_than_a_reader_scrolls(sources):
    lengths = {source.name: len(source.text.splitlines()) for source in sources}
    assert {name: n for name, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_no_function_body_is_longer_than_a_screen(sources):
    bounded = [source for source in sources if not source.name.startswith(MIGRATIONS)]
    lengths = {function.where: function.body_lines for source in bounded for function in source.functions()}
    assert {where: n for where, n in lengths.items() if n > MAX_BODY_LINES} == {}


def test_no_function_branches_more_than_ten_times(sources):
    counts = {f.where: len(list(_branches(f.node))) for source in sources for f in source.functions()}
    assert {where: n for where, n in counts.items() if n > MAX_BRANCHES} == {}


def test_no_signature_has_more_than_six_parameters(sources):
    # Tests are left out here and below: pytest passes their fixtures by name.
    functions = [f for source in sources if not source.is_test for f in source.functions()]
    widths = {f.where: _positional(f) + len(f.node.args.kwonlyargs) for f in functions if not _has_given_signature(f)}
    assert {where: n for where, n in widths.items() if n > MAX_PARAMETERS} == {}


def test_public_functions_take_arguments_from_the_third_by_name(sources):
    # A private function is read next to its calls; a public one is not.
    functions = [f for source in sources if not source.is_test for f in source.functions() if not _is_private(f)]
    by_place = {f.where: _positional(f) for f in functions if not _has_given_signature(f)}
    assert {where: n for where, n in by_place.items() if n > MAX_POSITIONAL} == {}
