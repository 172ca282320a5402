"""Queries on reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, bindparam, select

from tunefleet.names import TrialId
from tunefleet.protocol import Point, Report
from tunefleet_master.storage.engine import BACKENDS, backend_of
from tunefleet_master.storage.tables import ReportRow, table_of
from tunefleet_master.storage.upserts import UpsertInto, insert_into

_R = table_of(ReportRow)


def _newest_wins(new: UpsertInto) -> UpsertInto:
    return new.on_conflict_do_update(
        index_elements=[_R.c.trial_id, _R.c.attempt, _R.c.step],
        set_={"metrics": new.excluded.metrics, "number": new.excluded.number},
        where=new.excluded.number > _R.c.number,
    )


_STORE = {backend: _newest_wins(insert_into(backend, _R)) for backend in BACKENDS}


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
    connection.execute(_STORE[backend_of(connection)], rows)


_CURVES = (
    select(_R.c.trial_id, _R.c.step, _R.c.metrics)
    .where(_R.c.trial_id.in_(bindparam("trial_ids", expanding=True)))
    .order_by(_R.c.trial_id, _R.c.step, _R.c.attempt)
)


def curves(connection: Connection, trial_ids: Collection[TrialId]) -> dict[TrialId, list[Point]]:
    """The newest attempt's report at each step, by step.

    An attempt that resumed from a checkpoint reports the steps after it again; what the attempt before reported there
    was lost with it.
    """
    found: dict[TrialId, dict[int, Point]] = {trial_id: {} for trial_id in trial_ids}
    for trial_id, step, metrics in connection.execute(_CURVES, {"trial_ids": list(trial_ids)}):
        found[TrialId(trial_id)][step] = Point(step=step, metrics=metrics)
    return {trial_id: list(points.values()) for trial_id, points in found.items()}


def curve(connection: Connection, trial_id: TrialId, *, max_points: int | None = None) -> list[Point]:
    """One trial's `curves`; at most about `max_points`, evenly thinned, both ends kept."""
    points = curves(connection, [trial_id])[trial_id]
    if max_points is None or len(points) <= max_points:
        return points
    last = len(points) - 1
    return [points[round(i * last / (max_points - 1))] for i in range(max_points)]
