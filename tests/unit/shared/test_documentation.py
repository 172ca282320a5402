"""What the pages say is so: studies that are shown are sound, commands, tests and files that are named exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from tunefleet import StudySpec
from tunefleet.cli.main import app
from tunefleet.model import Model
from tunefleet.rules.review import review
from tunefleet.study.objective import Objective
from tunefleet.study.spec import Budget, DataSpec, Resources, Retry, Search
from tunefleet.study.yaml import load

ROOT = Path(__file__).parents[3]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "deploy/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
README, STUDY = (ROOT / "README.md").read_text(), (ROOT / "docs" / "study.md").read_text()
SMALLEST: dict[str, Any] = {
    "name": "small",
    "objective": {"metric": "loss", "goal": "minimize"},
    "run": {"function": "train:train"},
    "space": {"lr": {"log": [0.001, 0.1]}, "momentum": [0.0, 0.9]},
}


def _blocks(page: str, language: str) -> list[str]:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return found


def _data(block: str) -> dict[str, Any]:
    data, _ = load(block)
    return data if isinstance(data, dict) else {}


@pytest.mark.parametrize("page", [README, STUDY], ids=["README", "study"])
def test_every_whole_study_that_is_shown_can_be_submitted(page: str) -> None:
    studies = [data for block in _blocks(page, "yaml") if "name" in (data := _data(block))]

    assert studies
    for data in studies:
        review(StudySpec.parse(data)).refuse()


def test_every_part_of_a_study_that_is_shown_is_read() -> None:
    parts = [data for block in _blocks(STUDY, "yaml") if (data := _data(block)) and "name" not in data]
    space = next(part["space"] for part in parts if "space" in part)

    assert len(parts) >= 6
    for part in parts:
        replaced = {"objective"} if "objectives" in part else set()
        smallest = {key: value for key, value in SMALLEST.items() if key not in replaced}
        StudySpec.parse({**smallest, "space": space, **part})


def test_every_key_of_the_grammar_is_in_the_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]+) \|", STUDY, re.MULTILINE))
    nested: dict[str, type[Model]] = {
        "data": DataSpec,
        "search": Search,
        "budget": Budget,
        "resources": Resources,
        "retry": Retry,
    }

    for prefix, model in nested.items():
        for key, field in model.model_fields.items():
            default = field.get_default(call_default_factory=True)
            shown = rows[f"{prefix}.{key}"].strip("`")
            if isinstance(default, str | int | float):
                assert yaml.safe_load(shown) == default, f"{prefix}.{key}"
    for key in (field.alias or name for name, field in StudySpec.model_fields.items()):
        assert f"`{key}`" in STUDY or any(row.startswith(f"{key}.") for row in rows), key
    assert Objective.model_fields["value"].default == "best"


def test_the_table_of_commands_has_every_command_and_no_other() -> None:
    command = typer.main.get_command(app)
    known = set(vars(command)["commands"])
    shown = set(re.findall(r"^\| `tunefleet ([a-z]+)", README, re.MULTILINE))

    assert shown == known


def test_the_tests_that_the_pages_name_exist() -> None:
    named = set(re.findall(r"`(test_\w{20,})`", "\n".join(page.read_text() for page in PAGES)))
    written = set(
        re.findall(r"def (test_\w+)", "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py")))
    )

    assert named
    assert named <= written


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link
