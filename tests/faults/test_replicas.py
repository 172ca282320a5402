"""Several masters on one Postgres: one is killed, all are replaced in turn, all are gone for a while."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.chaos import amount
from tests.faults.proxy import proxied
from tests.faults.scripted import Script, crew, study_of

LEASE_S = 3.0  # a busy machine may keep a heartbeat waiting for a second
MASTERS = ["m0", "m1", "m2"]
SLOW = Script(batches=4, pause_s=0.05)


@pytest.fixture
def fleet(new_fleet: Any, postgres: Any) -> Any:
    """Three masters on an empty database."""
    fleet = new_fleet(database=postgres.new_database(), lease_s=LEASE_S)
    for name in MASTERS:
        fleet.start_master(name)
    return fleet


def progress(fleet: Any, tally: Any, n: int = 20) -> None:
    """Wait until so many more trials are complete."""
    before = len(tally.completed)
    fleet.wait(lambda: len(tally.completed) >= before + n, "the workers go on")


@pytest.mark.timeout(900)
def test_one_of_three_masters_is_killed_and_nobody_notices(fleet: Any, ledger: Any) -> None:
    n_kills = amount(1, 20)
    n_trials = 120 * n_kills
    with (
        proxied(list(fleet.masters.values())) as balancer,
        crew(balancer.url, 8, journal=fleet.journal, script=SLOW) as tally,
    ):
        fleet.client.submit(study_of("killed", n_trials))
        for turn in range(n_kills):
            name = MASTERS[turn % len(MASTERS)]
            progress(fleet, tally)
            fleet.kill(name)
            ledger.fault("kill -9 of one of three masters")
            progress(fleet, tally)
            fleet.start_master(name)
        ledger.check_finished(fleet, "killed", n_trials)
    ledger.check("I11", tally.errors, n=n_trials)


@pytest.mark.timeout(900)
def test_all_masters_are_replaced_in_turn_and_nobody_notices(fleet: Any, ledger: Any) -> None:
    n_turns = amount(1, 20)
    n_trials = 200 * n_turns
    with (
        proxied(list(fleet.masters.values())) as balancer,
        crew(balancer.url, 8, journal=fleet.journal, script=SLOW) as tally,
    ):
        fleet.client.submit(study_of("rolled", n_trials))
        for _ in range(n_turns):
            for name in MASTERS:
                progress(fleet, tally, n=10)
                assert fleet.stop(name) == 0
                fleet.start_master(name)
            ledger.fault("rolling restart of three masters")
        ledger.check_finished(fleet, "rolled", n_trials)
    ledger.check("I11", tally.errors, n=n_trials)
    assert tally.lost == []


@pytest.mark.timeout(1800)
def test_while_all_masters_are_down_no_lease_is_lost(fleet: Any, ledger: Any) -> None:
    n_outages = amount(1, 20)
    n_trials = 24 * n_outages
    long = Script(batches=10, pause_s=0.2, beat_s=LEASE_S / 6)
    with (
        proxied(list(fleet.masters.values())) as balancer,
        crew(balancer.url, 8, journal=fleet.journal, script=long) as tally,
    ):
        study = fleet.client.submit(study_of("down", n_trials))
        for _ in range(n_outages):
            progress(fleet, tally, n=8)
            for name in MASTERS:
                fleet.kill(name)
            ledger.fault("all masters down for three leases")
            time.sleep(3 * LEASE_S)  # the outage itself
            for name in MASTERS:
                fleet.start_master(name)
        ledger.check_finished(fleet, "down", n_trials)
    again = [f"trial {trial.number} has attempt {trial.attempt}" for trial in study.trials() if trial.attempt != 1]
    ledger.check("I2", again, n=n_trials)
    assert tally.lost == []
