"""Stored reports, on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from tunefleet.protocol import Lease, Report, ReportBatch
from tunefleet_master.services.execution import reports
from tunefleet_master.services.execution.reports import Reported
from tunefleet_master.storage.tables import ReportRow

STORED = select(ReportRow.step, ReportRow.number, ReportRow.metrics).order_by(ReportRow.step)


def report(master: Any, lease: Lease, *sent: tuple[int, int, float]) -> None:
    """Send step, number and loss of several reports in one batch."""
    points = [Report(step=step, metrics={"loss": loss}, number=number) for step, number, loss in sent]
    master.ask(reports.record, Reported(lease.trial_id, ReportBatch(attempt=lease.attempt, reports=points)))


def stored(master: Any) -> list[tuple[int, int, Any]]:
    rows: list[tuple[int, int, Any]] = master.read(lambda uow: [tuple(row) for row in uow.connection.execute(STORED)])
    return rows


def test_a_step_that_is_reported_many_times_is_one_row(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    for number in (0, 1, 1, 3):
        report(master, lease, (4, number, 0.5), (4, number, 0.5), (5, number, 0.25))

    assert stored(master) == [(4, 3, {"loss": 0.5}), (5, 3, {"loss": 0.25})]


def test_a_report_of_a_lower_number_changes_nothing(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    report(master, lease, (4, 2, 0.2), (4, 1, 0.1), (4, 2, 0.3))
    report(master, lease, (4, 1, 0.1))
    report(master, lease, (4, 2, 0.4))

    assert stored(master) == [(4, 2, {"loss": 0.2})]
