"""Who commits, what a module may be called, and what an import may drag in."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

COMMITTERS = {"master/tunefleet_master/storage/group_commit.py"}

# Names that promise nothing, so that everything ends up in them.
EMPTY_NAME = re.compile(
    r"(^|_)(utils?|helpers?|common|core|misc|managers?)$|^base(_|$)",
)

HEAVY = {
    *("torch", "numpy", "scipy", "sklearn", "pandas", "matplotlib", "mnist1d"),
    *("fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "jinja2"),
    *("tunefleet_master", "tunefleet_worker"),
}


def _commits(tree: ast.Module) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commit"
    ]


def test_only_the_group_commit_writer_commits(sources):
    committing = {source.name: _commits(source.tree) for source in sources if source.is_packaged}
    assert {name: lines for name, lines in committing.items() if lines and name not in COMMITTERS} == {}


def test_every_module_is_named_for_what_it_holds(sources):
    paths = [Path(source.name) for source in sources if not source.is_test]
    assert [path.as_posix() for path in paths for part in path.with_suffix("").parts if EMPTY_NAME.search(part)] == []


def test_nothing_is_left_for_later_in_the_text(sources):
    mark = re.compile(r"#.*\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
    assert [source.name for source in sources if mark.search(source.text)] == []


@pytest.mark.parametrize("module", ["tunefleet", "tunefleet.cli.main"])
def test_the_client_and_its_command_line_load_nothing_heavy(module):
    code = f"import sys, json, {module}; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(json.loads(answer.stdout)) == set()


def test_a_master_that_starts_imports_nothing_that_only_samplers_need() -> None:
    heavy = "scipy", "sklearn", "cmaes", "torch"
    code = f"import sys, tunefleet_master.app; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
