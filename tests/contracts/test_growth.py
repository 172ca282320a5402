"""Data of studies that ended long ago, and leases after a clock change."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.protocol import Lease, Report, ReportBatch, TrialState
from tunefleet_master.services.execution import reports, retention, sweeper
from tunefleet_master.services.execution.reports import Reported
from tunefleet_master.services.reading import trials

DAY_S = 86_400


def detail(master: Any, lease: Lease) -> Any:
    return master.read(lambda uow: trials.read(uow, lease.trial_id, max_points=10_000))


def run(master: Any, n_points: int, best_at: int) -> Lease:
    """Run a study of one trial with a curve of this many points."""
    master.submit(budget={"trials": 1})
    lease: Lease = master.claim()[0]
    points = [Report(step=step, metrics={"loss": abs(step - best_at) + 1.0}) for step in range(n_points)]
    for i in range(0, n_points, 500):
        master.ask(reports.record, Reported(lease.trial_id, ReportBatch(attempt=1, reports=points[i : i + 500])))
    master.complete(lease)
    return lease


def tidy(master: Any) -> int:
    """Thin until nothing is left to do; return the number of calls that thinned."""
    n = 0
    while master.call(retention.thin, keep_days=7):
        n += 1
    return n


def test_old_curves_are_thinned_to_their_ends_their_best_step_and_a_hundred_points(master: Any) -> None:
    lease = run(master, 1_003, best_at=777)
    master.skip_time(8 * DAY_S)
    assert tidy(master) == 1
    steps = [point.step for point in detail(master, lease).curve]
    assert len(steps) in (100, 101)
    assert (steps[0], steps[-1], 777 in steps) == (0, 1_002, True)
    assert detail(master, lease).value == 1.0
    assert tidy(master) == 0


def test_recent_and_short_curves_are_not_thinned(master: Any) -> None:
    lease = run(master, 150, best_at=3)
    master.skip_time(6 * DAY_S)
    assert tidy(master) == 0
    assert len(detail(master, lease).curve) == 150


@pytest.mark.parametrize("jump_s", [3_600, 2 * DAY_S, -3_600, -2 * DAY_S])
def test_a_clock_change_expires_no_live_lease_and_keeps_no_dead_one(master: Any, jump_s: int) -> None:
    master.submit()
    [lease] = master.claim()
    master.pass_time(20)
    master.skip_time(jump_s)
    master.call(sweeper.sweep, sweep_s=2.0)
    assert detail(master, lease).state is TrialState.RUNNING
    master.pass_time(30)
    assert detail(master, lease).state is TrialState.RUNNING
    master.pass_time(40)
    assert detail(master, lease).state is TrialState.WAITING
