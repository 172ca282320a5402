"""The guides of docs/architecture.md for an endpoint, a page and a data set, executed in a copy of the sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.architecture.recipes import Copy, block, blocks, files, section


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A fresh copy of the sources."""
    return Copy(tmp_path)


def _add_endpoint(copy: Copy) -> None:
    copy.write(files(section("Add an endpoint")))
    routes = "master/tunefleet_master/api/routes.py"
    copy.insert(routes, "\n    failures,", after="from tunefleet_master.api import (")
    copy.insert(routes, "\n        failures,", after="for module in (")


def test_an_endpoint_and_a_page_are_added_as_described(copy: Copy) -> None:
    _add_endpoint(copy)
    recipe = section("Add a page")
    handler, link = block(recipe, "@router"), block(recipe, "<a")
    pages = "master/tunefleet_master/dashboard/pages.py"
    layout = "master/tunefleet_master/dashboard/templates/layout.html"
    copy.write(files(recipe))
    copy.insert(pages, "failures, ", after="from tunefleet_master.services.reading import ")
    copy.insert(pages, f"\n\n{handler}\n\n", after="router = APIRouter(include_in_schema=False)\n")
    copy.insert(layout, f"\n{link}", after='<nav aria-label="Pages">')

    copy.run("""
from pathlib import Path
from starlette.testclient import TestClient
from tunefleet_master.app import create_app
from tunefleet_master.settings import Settings

with TestClient(create_app(Settings(data=Path("data"))), "http://127.0.0.1") as http:
    assert http.get("/api/v1/failures").json()["diverged"] == 0
    page = http.get("/failures").text
    assert "<li>diverged: 0</li>" in page
    assert '<a href="/failures" aria-current="page">' in page
""")


def test_a_data_set_is_added_as_described(copy: Copy) -> None:
    recipe = section("Add a data set")
    traits, reader = (text for text in blocks(recipe) if text.startswith('"iris"'))
    imported = block(recipe, "from tunefleet_worker")
    parts = "worker/tunefleet_worker/tasks/datasets/parts.py"
    copy.write(files(recipe))
    copy.insert("shared/tunefleet/catalogue/datasets.py", f"\n        {traits}", after="= MappingProxyType(\n    {")
    copy.insert(parts, f"\n        {reader}", after="= MappingProxyType(\n    {")
    copy.insert(parts, imported, after="from torch import Tensor\n")

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
