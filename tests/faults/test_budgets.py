"""A budget of N ends with exactly N finished trials, however many workers and masters take from it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.chaos import amount
from tests.faults.proxy import proxied
from tests.faults.scripted import Script, crew, study_of

QUICK = Script(batches=1)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("n_workers", [1, 8, 64])
def test_one_master_gives_out_exactly_the_budget(n_workers: int, new_fleet: Any, database: Any, ledger: Any) -> None:
    n_trials = amount(64, 1_000)
    fleet = new_fleet(database=database)
    fleet.start_master()
    fleet.client.submit(study_of("budget", n_trials))
    with crew(fleet.url, n_workers, journal=fleet.journal, script=QUICK) as tally:
        ledger.check_finished(fleet, "budget", n_trials)
    ledger.check("I4", [] if len(tally.completed) == n_trials else [f"{len(tally.completed)} results"])
    assert (tally.errors, tally.lost) == ([], [])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("n_workers", [1, 8, 64])
def test_three_masters_give_out_exactly_the_budget(n_workers: int, new_fleet: Any, postgres: Any, ledger: Any) -> None:
    n_trials = amount(64, 1_000)
    fleet = new_fleet(database=postgres.new_database())
    for name in ("m0", "m1", "m2"):
        fleet.start_master(name)
    fleet.client.submit(study_of("budget", n_trials))
    with (
        proxied(list(fleet.masters.values())) as balancer,
        crew(balancer.url, n_workers, journal=fleet.journal, script=QUICK) as tally,
    ):
        ledger.check_finished(fleet, "budget", n_trials)
    ledger.check("I4", [] if len(tally.completed) == n_trials else [f"{len(tally.completed)} results"])
    assert (tally.errors, tally.lost) == ([], [])
