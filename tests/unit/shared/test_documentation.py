"""Pages and docstrings: studies in pages are valid, named commands, tests and files exist, and the words are plain."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
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
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
README, STUDY = (ROOT / "README.md").read_text(), (ROOT / "docs" / "study.md").read_text()
FOLDERS = {"shared": "tunefleet", "master": "tunefleet_master", "worker": "tunefleet_worker"}
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
PLACES = (
    *(ROOT, ROOT / "tests"),
    *(place for folder, package in FOLDERS.items() for place in (ROOT / folder, ROOT / folder / package)),
)
"""The folders that paths in pages begin in."""
MAX_LINE = 120
FORBIDDEN_FIRST = ["What", "How", "Which", "Whether", "Who", "Whose", "Where", "When", "Why", "Is", "Does", "That"]
"""A docstring begins with a verb or a noun."""
BANNED = ["bell", "courier", "keyring", "lane", "nursery", "porter", "staffing", "wards", "witness", "workshop"]
"""Metaphors that have a standard term, and no other use here."""
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


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _prose(page: str) -> str:
    """A page without its code blocks, with the same line numbers."""
    return re.sub(r"^ *```.*?^ *```$", lambda code: "\n" * code[0].count("\n"), page, flags=re.DOTALL | re.MULTILINE)


def _anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)", _prose(page.read_text())):
        target = page.parent / link if link else page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target.read_text()), f"{link}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:[\w.]+/)+[\w.]+\.(?:py|yaml|yml|md|sh))(?:::\w+)?`", _prose(page.read_text()))

    assert [name for name in named if "NAME" not in name and not any((place / name).exists() for place in PLACES)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "architecture.md"], ids=_name)
def test_the_modules_that_a_page_imports_have_the_names(page: Path) -> None:
    code = "\n".join(_blocks(page.read_text(), "python"))
    for package, path, names in re.findall(r"^ *from (tunefleet\w*)\.([\w.]+) import ([\w, ]+)$", code, re.MULTILINE):
        folder = ROOT / {"tunefleet": "shared"}.get(package, package.removeprefix("tunefleet_")) / package
        module = folder / f"{path.replace('.', '/')}.py"
        text = (module if module.exists() else module.with_suffix("") / "__init__.py").read_text()
        for name in names.split(", "):
            inside = (module.with_suffix("") / f"{name}.py").exists()
            assert inside or re.search(rf"^(?:def |class |async def |from .*)?\b{name}\b", text, re.MULTILINE), name


@pytest.mark.parametrize("folder", ["shared/tunefleet", "master/tunefleet_master", "master/tunefleet_master/services"])
def test_the_page_on_architecture_names_every_room(folder: str) -> None:
    rooms = {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
    shown = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE))

    assert rooms
    assert rooms <= shown


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_prose_wraps(page: Path) -> None:
    long = [
        (number, len(line))
        for number, line in enumerate(_prose(page.read_text()).splitlines(), start=1)
        if len(line) > MAX_LINE and not line.lstrip().startswith("|") and not re.fullmatch(r"[-* ]*\[.*\]\(.*\)", line)
    ]

    assert long == []


def _docstrings(path: Path) -> Iterator[tuple[str, str]]:
    """The docstrings of a module and of its public classes and functions, each with its place."""
    tree = ast.parse(path.read_text())
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        name = getattr(node, "name", "")
        if isinstance(node, kinds) and not name.startswith("_") and (text := ast.get_docstring(node)):
            yield f"{_name(path)}:{getattr(node, 'lineno', 1)} {name}", text


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    found = [
        f"{place}: {text.splitlines()[0]}"
        for path in MODULES
        for place, text in _docstrings(path)
        if re.split(r"\W", text, maxsplit=1)[0] in FORBIDDEN_FIRST
    ]

    assert found == []


def test_no_metaphor_replaces_a_standard_term() -> None:
    banned = re.compile(rf"\b(?:{'|'.join(BANNED)})(?:e?s)?\b", re.IGNORECASE)
    texts = [
        *((_name(page), re.sub(r"`[^`]*`", "", _prose(page.read_text()))) for page in PAGES),
        *((place, text) for path in MODULES for place, text in _docstrings(path)),
    ]

    assert [f"{place}: {word[0]}" for place, text in texts for word in banned.finditer(text)] == []
