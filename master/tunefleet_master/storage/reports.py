"""Queries on reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, select

from tunefleet.names import TrialId
from tunefleet.protocol import Point, Report
from tunefleet_master.storage.tables import ReportRow
from tunefleet_master.storage.upserts import insert_into


def store(connection: Connection, batches: Iterable[tuple[TrialId, int, Sequence[Report]]]) -> None:
    """Store reports of trials and attempts.

    One whose number is not above that of the stored report of the same step changes nothing.
    """
    newest: dict[tuple[TrialId, int, int], Report] = {}
    for trial_id, attempt, reports in batches:
        for report in reports:
            key = (trial_id, attempt, report.step)
            if key not in newest or report.number > newest[key].number:
                newest[key] = report
    rows = [
        {"trial_id": trial_id, "attempt": attempt, "step": step, "number": report.number, "metrics": report.metrics}
        for (trial_id, attempt, step), report in newest.items()
    ]
    new = insert_into(connection, ReportRow)
    query = new.on_conflict_do_update(
        index_elements=[ReportRow.trial_id, ReportRow.attempt, ReportRow.step],
        set_={"metrics": new.excluded.metrics, "number": new.excluded.number},
        where=new.excluded.number > ReportRow.number,
    )
    connection.execute(query, rows)


def curves(connection: Connection, trial_ids: Collection[TrialId]) -> dict[TrialId, list[Point]]:
    """The newest attempt's report at each step, by step.

    An attempt that resumed from a checkpoint reports the steps after it again; what the attempt before reported there
    was lost with it.
    """
    query = (
        select(ReportRow.trial_id, ReportRow.step, ReportRow.metrics)
        .where(ReportRow.trial_id.in_(trial_ids))
        .order_by(ReportRow.trial_id, ReportRow.step, ReportRow.attempt)
    )
    found: dict[TrialId, dict[int, Point]] = {trial_id: {} for trial_id in trial_ids}
    for trial_id, step, metrics in connection.execute(query):
        found[TrialId(trial_id)][step] = Point(step=step, metrics=metrics)
    return {trial_id: list(points.values()) for trial_id, points in found.items()}


def curve(connection: Connection, trial_id: TrialId, *, max_points: int | None = None) -> list[Point]:
    """One trial's `curves`; at most about `max_points`, evenly thinned, both ends kept."""
    points = curves(connection, [trial_id])[trial_id]
    if max_points is None or len(points) <= max_points:
        return points
    last = len(points) - 1
    return [points[round(i * last / (max_points - 1))] for i in range(max_points)]
