"""What is stored of reports, on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from tunefleet.protocol import Report, ReportBatch
from tunefleet_master.services import reports
from tunefleet_master.services.reports import Reported
from tunefleet_master.storage.tables import ReportRow


def test_a_step_that_is_reported_many_times_is_one_row(master: Any) -> None:
    master.submit()
    [lease] = master.claim()
    for number in (0, 1, 1, 3, 2):
        sent = [Report(step=step, metrics={"loss": 0.5}, number=number) for step in (4, 4, 5)]
        master.ask(reports.record, Reported(lease.trial_id, ReportBatch(attempt=lease.attempt, reports=sent)))

    count = select(func.count()).select_from(ReportRow)
    assert master.look(lambda uow: uow.connection.execute(count).scalar_one()) == 2
