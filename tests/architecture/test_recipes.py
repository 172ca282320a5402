"""The recipes of docs/architecture.md for an endpoint, a page and a data set, executed in a copy of the sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = ("shared", "master", "worker")


def _section(heading: str) -> str:
    """The text of a recipe, up to the next heading."""
    return PAGE.partition(f"\n### {heading}\n")[2].partition("\n#")[0]


def _blocks(recipe: str) -> list[str]:
    """The code blocks of a recipe, without the indentation of their list."""
    return [textwrap.dedent(block) for block in re.findall(r"```\w+\n(.*?)^ *```", recipe, re.DOTALL | re.MULTILINE)]


def _files(recipe: str) -> dict[str, str]:
    """The new files of a recipe by path: code blocks that begin with their path as a comment."""
    named = ((re.match(r"(?:#|\{#) (\S+/\S+)(?: #\})?\n", block), block) for block in _blocks(recipe))
    return {path[1]: block[path.end() :] for path, block in named if path}


class Copy:
    """A copy of the sources, in which a recipe is executed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for package in PACKAGES:
            shutil.copytree(ROOT / package, folder / package)

    def write(self, files: Mapping[str, str]) -> None:
        """Add new files."""
        assert files
        for name, text in files.items():
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


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A fresh copy of the sources."""
    return Copy(tmp_path)


def _add_endpoint(copy: Copy) -> None:
    copy.write(_files(_section("An endpoint")))
    routes = "master/tunefleet_master/api/routes.py"
    copy.insert(routes, "\n    failures,", after="from tunefleet_master.api import (")
    copy.insert(routes, "\n        failures,", after="for module in (")


def test_an_endpoint_and_a_page_are_added_as_described(copy: Copy) -> None:
    _add_endpoint(copy)
    recipe = _section("A page")
    [handler] = [block for block in _blocks(recipe) if block.startswith("@router")]
    pages = "master/tunefleet_master/dashboard/pages.py"
    copy.write(_files(recipe))
    copy.insert(pages, "failures, ", after="from tunefleet_master.services.reading import ")
    copy.insert(pages, f"\n\n{handler}\n\n", after="router = APIRouter(include_in_schema=False)\n")

    copy.run("""
from pathlib import Path
from starlette.testclient import TestClient
from tunefleet_master.app import create_app
from tunefleet_master.settings import Settings

with TestClient(create_app(Settings(data=Path("data"))), "http://127.0.0.1") as http:
    assert http.get("/api/v1/failures").json()["diverged"] == 0
    assert "<li>diverged: 0</li>" in http.get("/failures").text
""")


def test_a_data_set_is_added_as_described(copy: Copy) -> None:
    recipe = _section("A data set")
    rows = [block for block in _blocks(recipe) if block.startswith('"iris"')]
    parts = "worker/tunefleet_worker/tasks/datasets/parts.py"
    [fact] = [row for row in rows if "Traits" in row]
    [reader] = [row for row in rows if "lambda" in row]
    copy.write(_files(recipe))
    copy.insert("shared/tunefleet/catalogue/datasets.py", f"\n        {fact}", after="= MappingProxyType(\n    {")
    copy.insert(parts, f"\n        {reader}", after="= MappingProxyType(\n    {")
    copy.insert(parts, "from tunefleet_worker.tasks.datasets.iris import iris\n", after="from torch import Tensor\n")

    copy.run("""
import torch
from tunefleet import StudySpec
from tunefleet.catalogue.datasets import DATASETS
from tunefleet.rules.review import review
from tunefleet_worker.tasks.datasets.parts import DataChoice, load_training_parts

spec = StudySpec.parse({
    "name": "flowers", "objective": {"metric": "val_loss", "goal": "minimize"}, "steps": 2,
    "run": {"task": "image_classification", "dataset": "iris"}, "space": {"lr": {"log": [0.001, 0.1]}},
})
review(spec).refuse()
parts = load_training_parts(DataChoice(dataset="iris", spec=spec.data))
labels = torch.cat([parts.train.labels, parts.validation.labels])
assert torch.bincount(labels).min().item() == DATASETS["iris"].smallest_class
assert tuple(parts.train.inputs.shape[1:]) == (4, 1)
""")
