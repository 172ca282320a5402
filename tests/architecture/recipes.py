"""The recipes of docs/architecture.md: their text, and a copy of the sources in which a test executes them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("shared", "master", "worker")


def section(heading: str) -> str:
    """Return the text of a recipe, up to the next heading."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    return page.partition(f"\n### {heading}\n")[2].partition("\n#")[0]


def blocks(recipe: str) -> list[str]:
    """Return the code blocks of a recipe, without the indentation of their list."""
    return [textwrap.dedent(block) for block in re.findall(r"```\w+\n(.*?)^ *```", recipe, re.DOTALL | re.MULTILINE)]


def block(recipe: str, beginning: str) -> str:
    """Return the only code block with this beginning."""
    [found] = [each for each in blocks(recipe) if each.startswith(beginning)]
    return found


def files(recipe: str) -> dict[str, str]:
    """Return the new files of a recipe by path: code blocks that begin with their path as a comment."""
    named = ((re.match(r"(?:#|\{#) (\S+/\S+)(?: #\})?\n", text), text) for text in blocks(recipe))
    return {path[1]: text[path.end() :] for path, text in named if path}


class Copy:
    """A copy of the sources, in which a recipe is executed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in PACKAGES:
            shutil.copytree(ROOT / package, folder / package)

    def write(self, new: Mapping[str, str]) -> None:
        """Add new files."""
        assert new
        for name, text in new.items():
            assert not (ROOT / name).exists(), name
            (self.folder / name).write_text(text)

    def insert(self, file: str, new: str, *, after: str) -> None:
        """Insert a text into a file, after the first place where another one occurs."""
        path = self.folder / file
        before, found, rest = path.read_text().partition(after)
        assert found, f"{file} has no {after!r}"
        path.write_text(before + found + new + rest)

    def run(self, code: str) -> None:
        """Run a script with the copied packages, and fail if it fails."""
        paths = os.pathsep.join(str(self.folder / package) for package in PACKAGES)
        environment = {**os.environ, "PYTHONPATH": paths}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
