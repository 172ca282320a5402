"""`kill -9` of Postgres with all its processes, while workers work; the masters wait for it and go on."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.chaos import amount
from tests.faults.scripted import Script, crew, study_of
from tests.postgres import PostgresServer, running_postgres

STRETCH_S = 1.5
SLOW = Script(batches=3, pause_s=0.02)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One that may be hurt."""
    with running_postgres() as server:
        yield server


@pytest.mark.timeout(1800)
def test_a_postgres_that_is_killed_at_random_moments_loses_nothing(new_fleet: Any, server: Any, ledger: Any) -> None:
    n_kills = amount(4, 50)
    n_trials = 40 * n_kills
    draw = random.Random(n_kills)
    fleet = new_fleet(database=server.new_database())
    fleet.start_master()
    fleet.client.submit(study_of("killed", n_trials))
    with crew(fleet.url, 8, journal=fleet.journal, script=SLOW) as tally:
        for _ in range(n_kills):
            n_before = len(tally.completed)
            time.sleep(draw.random() * STRETCH_S)
            server.kill()
            ledger.fault("kill -9 of Postgres")
            server.start()
            fleet.wait(lambda n=n_before: len(tally.completed) > n, "the workers go on")
        ledger.check_finished(fleet, "killed", n_trials, timeout_s=600)
    ledger.check("I11", tally.errors, n=n_trials)
    assert not fleet.has_ended("master")
