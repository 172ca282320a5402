"""The project's source files, parsed once, for the tests that bound their size and their reach."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_FOLDERS = ("shared", "master", "worker")
ALL_FOLDERS = (*PACKAGE_FOLDERS, "benchmarks", "examples", "tests")

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Function:
    """A function or method, and what the bounds need to know of where it stands."""

    where: str
    node: FunctionNode
    is_method: bool

    @property
    def body_lines(self) -> int:
        """Lines of the body, its docstring not counted."""
        first = self.node.body[0]
        is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        statements = self.node.body[1:] if is_docstring else self.node.body
        if not statements:
            return 0
        return (statements[-1].end_lineno or 0) - statements[0].lineno + 1

    @property
    def decorators(self) -> list[str]:
        """The decorators as written, without their arguments: `router.get`, `app.command`."""
        return [ast.unparse(d.func if isinstance(d, ast.Call) else d) for d in self.node.decorator_list]


@dataclass(frozen=True)
class Source:
    """One Python file."""

    path: Path

    @property
    def name(self) -> str:
        """The path from the root of the repository, with forward slashes."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def is_test(self) -> bool:
        """Whether the file belongs to the tests."""
        return self.name.startswith("tests/")

    @property
    def is_packaged(self) -> bool:
        """Whether the file is part of the distribution."""
        return self.name.startswith(PACKAGE_FOLDERS)

    @cached_property
    def text(self) -> str:
        """What the file holds."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The file, parsed."""
        return ast.parse(self.text, filename=self.name)

    def functions(self) -> Iterator[Function]:
        """Every function of the file, nested ones and methods too."""
        for parent in ast.walk(self.tree):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, FunctionNode):
                    is_method = isinstance(parent, ast.ClassDef)
                    yield Function(f"{self.name}:{node.lineno} {node.name}", node, is_method)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def sources() -> list[Source]:
    """Every Python file of ours."""
    return [Source(path) for folder in ALL_FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
