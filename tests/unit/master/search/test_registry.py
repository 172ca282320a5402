"""The selection of a sampler by `auto`."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.study.spec import StudySpec
from tunefleet_master.search.registry import select

STUDY: dict[str, Any] = {
    "name": "s",
    "objective": {"metric": "m", "goal": "minimize"},
    "run": {"function": "a:b"},
    "space": {"lr": {"log": [1e-4, 1e-0]}, "optimizer": ["sgd", "adam"]},
    "steps": 27,
}
SMALL = {"optimizer": ["sgd", "adam"], "depth": {"int": [1, 3]}}
LARGE = {f"x{i}": {"float": [0.0, 1.0]} for i in range(51)}


@pytest.mark.parametrize(
    ("changes", "sampler"),
    [
        ({}, "gp"),
        ({"budget": {"trials": 1_000}}, "gp"),
        ({"budget": {"trials": 1_001}}, "tpe"),
        ({"space": LARGE}, "tpe"),
        ({"space": SMALL, "budget": {"trials": 6}}, "grid"),
        ({"space": SMALL, "budget": {"trials": 5}}, "gp"),
        ({"pruning": {"pruner": "asha"}}, "tpe"),
        ({"pruning": {"pruner": "hyperband"}, "budget": {"trials": 101}}, "tpe"),
        ({"pruning": {"pruner": "asha"}, "budget": {"trials": 100}}, "gp"),
        ({"pruning": {"pruner": "median"}}, "gp"),
        ({"search": {"sampler": "random"}}, "random"),
    ],
)
def test_auto_goes_by_space_budget_and_pruner(changes: dict[str, Any], sampler: str) -> None:
    assert select(StudySpec.parse({**STUDY, **changes})).sampler == sampler
