"""A budget of N ends with exactly N finished trials, however many workers and masters take from it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.chaos import amount
from tests.faults.proxy import proxied
from tests.faults.scripted import Script, crew, study_of

QUICK = Script(batches=1)
N_WORKERS = (1, 8, 64)


def spend_budgets(fleet: Any, url: str, ledger: Any) -> None:
    """Spend a budget with one worker, then one with eight, then one with sixty-four."""
    n_trials = amount(64, 1_000)
    for n_workers in N_WORKERS:
        name = f"by-{n_workers}"
        fleet.client.submit(study_of(name, n_trials))
        with crew(url, n_workers, journal=fleet.journal, script=QUICK, name=f"{name}-") as tally:
            ledger.check_finished(fleet, name, n_trials)
        ledger.check("I4", [] if len(tally.completed) == n_trials else [f"{len(tally.completed)} results for {name}"])
        assert (tally.errors, tally.lost) == ([], [])
        ledger.fault(f"a budget for {n_workers} workers and {len(fleet.masters)} masters")


@pytest.mark.timeout(900)
def test_one_master_gives_out_exactly_the_budget(new_fleet: Any, database: Any, ledger: Any) -> None:
    fleet = new_fleet(database=database)
    fleet.start_master()
    spend_budgets(fleet, fleet.url, ledger)


@pytest.mark.timeout(900)
def test_three_masters_give_out_exactly_the_budget(new_fleet: Any, postgres: Any, ledger: Any) -> None:
    fleet = new_fleet(database=postgres.new_database())
    for name in ("m0", "m1", "m2"):
        fleet.start_master(name)
    with proxied(list(fleet.masters.values())) as balancer:
        spend_budgets(fleet, balancer.url, ledger)
