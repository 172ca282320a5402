"""Every file has its room, and imports between rooms point downward."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

ROOTS = {"__init__", "__main__", "errors", "names", "model", "plain", "field_texts", "logs", "failpoints"}
"""The modules that stand in `shared/tunefleet` itself: everything else builds on them."""

# From the top to the bottom; a room imports rooms below it only. import-linter holds the same order more strictly.
SHARED_FLOORS = (
    *("__init__", "__main__", "cli", "client", "bridges", "figures", "trial", "data", "rules", "protocol", "study"),
    *("catalogue", "files", "logs", "failpoints", "plain", "names", "model", "errors", "field_texts"),
)
SERVICE_FLOORS = ("insights", "reading", "audit", "results", "planning", "execution", "access")

MAX_UPWARD = {"shared/tunefleet": 0, "master/tunefleet_master/services": 0}

FLOORS = {"shared/tunefleet": SHARED_FLOORS, "master/tunefleet_master/services": SERVICE_FLOORS}


def _room(path: PurePosixPath, folder: str) -> str:
    """The first part of the path inside the folder, without `.py`."""
    return path.relative_to(folder).parts[0].removesuffix(".py")


def _modules(tree: ast.Module) -> Iterator[str]:
    """Every module that the file imports, and `package.name` for each name that it takes from a package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(sources, folder: str) -> set[tuple[str, str]]:
    """The imports from one room of the folder to another, as pairs of rooms."""
    package = ".".join(PurePosixPath(folder).parts[1:])
    found = set()
    for source in sources:
        if not source.name.startswith(f"{folder}/"):
            continue
        room = _room(PurePosixPath(source.name), folder)
        for module in _modules(source.tree):
            if module.startswith(f"{package}."):
                found.add((room, module.removeprefix(f"{package}.").split(".")[0]))
    rooms = {_room(PurePosixPath(source.name), folder) for source in sources if source.name.startswith(f"{folder}/")}
    return {(start, end) for start, end in found if start != end and end in rooms}


def upward(pairs: set[tuple[str, str]], floors: tuple[str, ...]) -> list[tuple[str, str]]:
    """The arrows that lead from a room to one above it."""
    return sorted((start, end) for start, end in pairs if floors.index(end) < floors.index(start))


@pytest.mark.parametrize("folder", FLOORS)
def test_imports_between_rooms_point_downward(sources, folder):
    assert len(upward(arrows(sources, folder), FLOORS[folder])) <= MAX_UPWARD[folder]


def test_an_upward_import_is_noticed(sources):
    pairs = arrows(sources, "shared/tunefleet") | {("study", "client")}
    assert upward(pairs, SHARED_FLOORS) == [("study", "client")]


def test_the_shared_package_has_rooms_and_seven_roots(root):
    files = {path.stem for path in (root / "shared/tunefleet").glob("*.py")}
    assert files == ROOTS


def test_the_services_have_rooms_only(root):
    services = root / "master/tunefleet_master/services"
    assert [path.name for path in services.glob("*.py")] == ["__init__.py"]
    assert {path.name for path in services.iterdir() if path.is_dir()} - {"__pycache__"} <= set(SERVICE_FLOORS)
