"""`kill -9` of the master, at random moments and at the worst ones, while workers work."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from tests.chaos import amount
from tests.faults.scripted import Script, crew, study_of

STRETCH_S = 0.5  # a kill comes so long at the latest after the master listens
SLOW = Script(batches=3, pause_s=0.02)


def end_at_what_is_there(fleet: Any, name: str) -> int:
    """Make the trials that were created the study's budget, so that it ends; how many they are."""
    study = fleet.client.study(name)
    study.pause()
    n_trials: int = sum(study.view().trials.values())
    study.edit(trials=n_trials)
    study.resume()
    return n_trials


@pytest.mark.timeout(3600)
def test_a_master_on_sqlite_that_is_killed_at_random_moments_loses_nothing(new_fleet: Any, ledger: Any) -> None:
    n_kills = amount(20, 500)
    draw = random.Random(n_kills)
    fleet = new_fleet()
    fleet.start_master()
    fleet.client.submit(study_of("killed", 1_000_000))
    with crew(fleet.url, 8, journal=fleet.journal, script=SLOW) as tally:
        for _ in range(n_kills):
            n_before = len(tally.completed)
            time.sleep(draw.random() * STRETCH_S)
            fleet.kill("master")
            ledger.fault("kill -9 of the master on SQLite")
            fleet.start_master()
            fleet.wait(lambda n=n_before: len(tally.completed) > n, "the workers go on", timeout_s=30)
        n_trials = end_at_what_is_there(fleet, "killed")
        ledger.check_finished(fleet, "killed", n_trials)
    ledger.check("I11", tally.errors, n=n_trials)
