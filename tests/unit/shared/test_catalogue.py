"""The pages list the rows of the catalogue."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tunefleet.catalogue.pruners import NO_PRUNER, PRUNERS
from tunefleet.catalogue.samplers import SAMPLER_NAMES, SAMPLERS
from tunefleet.catalogue.tasks import TASKS
from tunefleet.study.spec import Search

DOCS = Path(__file__).parents[3] / "docs"
SEARCH, STUDY = ((DOCS / name).read_text() for name in ("search.md", "study.md"))


def table(page: str, head: str) -> set[str]:
    """The rows of the table with this head; cells are separated by " | "."""
    rows = page.split(f"{head}\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return {re.sub(r"\s*\|\s*", " | ", row.strip("| ")) for row in rows}


def test_the_page_on_search_has_a_row_for_each_sampler() -> None:
    expected = {
        f"`{name}` | {row.spaces} | {'yes' if row.learns else 'no'} | {row.purpose}" for name, row in SAMPLERS.items()
    }
    assert table(SEARCH, "| sampler | takes | learns | for |") == expected


def test_the_page_on_studies_names_each_sampler_and_those_that_take_one_objective_only() -> None:
    (row,) = re.findall(r"^\| `search.sampler` \|.*$", STUDY, re.MULTILINE)
    assert [name for name in SAMPLER_NAMES if f"`{name}`" not in row] == []
    (single,) = re.findall(r"samplers\s((?:`\w+`(?:,\s|\sand\s)?)+)", STUDY)
    assert re.findall(r"\w+(?=`)", single) == [name for name, row in SAMPLERS.items() if not row.takes_several]


def test_the_page_on_studies_has_a_row_for_each_pruner() -> None:
    expected = {
        f"`{name}` | {row.stops} | {', '.join(f'`{key}`' for key in row.reads)}" for name, row in PRUNERS.items()
    }
    rows = table(STUDY, "| pruner | stops a trial that | keys |")
    assert {row for row in rows if not row.startswith(f"`{NO_PRUNER}`")} == expected


def test_samplers_read_keys_of_the_grammar() -> None:
    assert {key for row in SAMPLERS.values() for key in row.reads} <= set(Search.model_fields)


def test_the_page_on_studies_has_a_row_with_the_default_of_each_parameter_of_a_task() -> None:
    rows = dict(row.split(" | ")[:2] for row in table(STUDY, "| parameter | default | values | meaning |"))
    [task] = TASKS.values()
    defaults = {f"`{name}`": each for name, each in task.parameters.items()}
    assert rows.keys() == defaults.keys()
    for name, shown in rows.items():
        assert {"required": None, "–": None}.get(shown, yaml.safe_load(shown.strip("`"))) == defaults[name].default, (
            name
        )
        assert (shown == "required") is defaults[name].is_required, name
