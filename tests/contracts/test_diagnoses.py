"""The input of the diagnosis rules."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet_master.diagnosis.reported import MAX_CURVES
from tunefleet_master.services.insights import diagnoses
from tunefleet_master.storage import studies

N_TRIALS = MAX_CURVES + 3


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_curves_are_those_of_the_best_trials_whatever_the_goal_is(master: Any, goal: str) -> None:
    master.submit(objective={"metric": "score", "goal": goal}, budget={"trials": N_TRIALS})
    for _ in range(N_TRIALS):
        [lease] = master.claim()
        master.report(lease, 0, score=float(lease.number))
        master.complete(lease)

    found = master.read(lambda uow: diagnoses.of_study(uow, studies.get(uow.connection, "study")))

    best_first = sorted(range(N_TRIALS), reverse=goal == "maximize")
    assert list(found.best) == best_first[:MAX_CURVES]
    assert sorted(found.results) == list(range(N_TRIALS))
