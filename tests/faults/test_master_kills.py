"""`kill -9` of the master, at random moments and at the worst ones, while workers work."""

from __future__ import annotations

import random
import signal
import time
from typing import Any

import pytest
from tests.chaos import amount
from tests.faults.scripted import Script, crew, study_of

from tunefleet.failpoints import POINTS

STRETCH_S = 0.5  # a kill comes so long at the latest after the master listens
OF_MASTER = [point for point in POINTS if point.startswith("master.")]
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
            fleet.wait(lambda n=n_before: len(tally.completed) > n, "the workers go on", timeout_s=120)
        n_trials = end_at_what_is_there(fleet, "killed")
        ledger.check_finished(fleet, "killed", n_trials)
    ledger.check("I11", tally.errors, n=n_trials)


@pytest.mark.timeout(900)
def test_a_master_that_is_killed_around_each_commit_loses_nothing(new_fleet: Any, database: Any, ledger: Any) -> None:
    n_trials = 120
    fleet = new_fleet(database=database)
    fleet.start_master()
    fleet.client.submit(study_of("loaded", n_trials))
    with crew(fleet.url, 4, journal=fleet.journal, script=Script(pause_s=0.05, file_bytes=5_000)) as tally:
        for point in OF_MASTER:
            fleet.kill("master")
            fleet.start_master(failpoints=f"{point}=kill@5")
            fleet.wait(lambda: fleet.has_ended("master"), f"the master dies at {point}")
            assert fleet.processes["master"].poll() == -signal.SIGKILL, fleet.log("master")
            ledger.fault(f"kill -9 at {point}")
            fleet.start_master()
        ledger.check_finished(fleet, "loaded", n_trials)
    ledger.check("I11", tally.errors, n=n_trials)
