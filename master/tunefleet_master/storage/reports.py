"""Queries on reports."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.sqlite import insert

from tunefleet.names import TrialId
from tunefleet.protocol import Point, Report
from tunefleet_master.storage.tables import ReportRow


def store(connection: Connection, trial_id: TrialId, attempt: int, *, reports: Sequence[Report]) -> None:
    """Store reports; one whose number is not above that of the stored report of the same step changes nothing."""
    rows = [
        {
            "trial_id": trial_id,
            "attempt": attempt,
            "step": r.step,
            "number": r.number,
            "metrics": r.metrics,
        }
        for r in reports
    ]
    new = insert(ReportRow)
    query = new.on_conflict_do_update(
        index_elements=[ReportRow.trial_id, ReportRow.attempt, ReportRow.step],
        set_={"metrics": new.excluded.metrics, "number": new.excluded.number},
        where=new.excluded.number > ReportRow.number,
    )
    connection.execute(query, rows)


def curve(connection: Connection, trial_id: TrialId, *, max_points: int | None = None) -> list[Point]:
    """The newest attempt's report at each step, by step; at most about `max_points`, evenly thinned, both ends kept.

    An attempt that resumed from a checkpoint reports the steps after it again; what the attempt before reported there
    was lost with it.
    """
    newest = (
        select(
            ReportRow.step,
            ReportRow.metrics,
            func.row_number().over(partition_by=ReportRow.step, order_by=ReportRow.attempt.desc()).label("age"),
        )
        .where(ReportRow.trial_id == trial_id)
        .subquery()
    )
    query = select(newest.c.step, newest.c.metrics).where(newest.c.age == 1).order_by(newest.c.step)
    points = [Point(step=step, metrics=metrics) for step, metrics in connection.execute(query)]
    if max_points is None or len(points) <= max_points:
        return points
    last = len(points) - 1
    return [points[round(i * last / (max_points - 1))] for i in range(max_points)]
