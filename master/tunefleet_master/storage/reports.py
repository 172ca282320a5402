"""Queries on reports."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, delete, select, text
from sqlalchemy.dialects import sqlite

from tunefleet.names import TrialId
from tunefleet.protocol import Point, Report
from tunefleet_master.storage.engine import backend_of
from tunefleet_master.storage.tables import ReportRow, dump_metrics, table_of

T = TypeVar("T")

_R = table_of(ReportRow)


_new = sqlite.insert(_R)
_STORE = _new.on_conflict_do_update(
    index_elements=[_R.c.trial_id, _R.c.attempt, _R.c.step],
    set_={"metrics": _new.excluded.metrics, "number": _new.excluded.number},
    where=_new.excluded.number > _R.c.number,
)

# The same for Postgres: one statement with columns as arrays takes a third of the time of one statement per row.
_STORE_ARRAYS = text(
    """
    INSERT INTO reports (trial_id, attempt, step, number, metrics)
    SELECT * FROM unnest(
        CAST(:trial_id AS integer[]), CAST(:attempt AS integer[]), CAST(:step AS bigint[]), CAST(:number AS bigint[]),
        CAST(:metrics AS text[])
    )
    ON CONFLICT (trial_id, attempt, step) DO UPDATE SET metrics = excluded.metrics, number = excluded.number
    WHERE excluded.number > reports.number
    """
)


def store(connection: Connection, batches: Iterable[tuple[TrialId, int, Sequence[Report]]]) -> None:
    """Store reports of attempts.

    A report whose number is not above that of the stored report at the same step changes nothing.
    """
    newest: dict[tuple[TrialId, int, int], Report] = {}
    for trial_id, attempt, reports in batches:
        for report in reports:
            key = (trial_id, attempt, report.step)
            if key not in newest or report.number > newest[key].number:
                newest[key] = report
    if backend_of(connection) == "sqlite":
        connection.execute(_STORE, [_row(key, report) for key, report in newest.items()])
        return
    arrays: dict[str, list[Any]] = {
        "trial_id": [trial_id for trial_id, _, _ in newest],
        "attempt": [attempt for _, attempt, _ in newest],
        "step": [step for _, _, step in newest],
        "number": [report.number for report in newest.values()],
        "metrics": [dump_metrics(report.metrics) for report in newest.values()],
    }
    connection.execute(_STORE_ARRAYS, arrays)


def _row(key: tuple[TrialId, int, int], report: Report) -> dict[str, Any]:
    trial_id, attempt, step = key
    return {"trial_id": trial_id, "attempt": attempt, "step": step, "number": report.number, "metrics": report.metrics}


_CURVES = (
    select(_R.c.trial_id, _R.c.step, _R.c.metrics)
    .where(_R.c.trial_id.in_(bindparam("trial_ids", expanding=True)))
    .order_by(_R.c.trial_id, _R.c.step, _R.c.attempt)
)


def curves(connection: Connection, trial_ids: Collection[TrialId]) -> dict[TrialId, list[Point]]:
    """The newest attempt's report at each step, ordered by step.

    An attempt that resumes from a checkpoint reports the later steps again. The previous attempt's reports at those
    steps are superseded.
    """
    found: dict[TrialId, dict[int, Point]] = {trial_id: {} for trial_id in trial_ids}
    for trial_id, step, metrics in connection.execute(_CURVES, {"trial_ids": list(trial_ids)}):
        found[TrialId(trial_id)][step] = Point(step=step, metrics=metrics)
    return {trial_id: list(points.values()) for trial_id, points in found.items()}


def curve(connection: Connection, trial_id: TrialId, *, max_points: int | None = None) -> Sequence[Point]:
    """One trial's `curves`, evenly thinned to at most about `max_points`; both ends stay."""
    points = curves(connection, [trial_id])[trial_id]
    return points if max_points is None else evenly(points, max_points)


def evenly(items: Sequence[T], n: int) -> Sequence[T]:
    """At most `n` of the items, evenly spaced, including the first and the last; `n` is at least 2."""
    if len(items) <= n:
        return items
    last = len(items) - 1
    return [items[round(i * last / (n - 1))] for i in range(n)]


def steps(connection: Connection, trial_id: TrialId) -> list[int]:
    """The steps of a trial's reports, in order."""
    query = select(_R.c.step).where(_R.c.trial_id == trial_id).distinct().order_by(_R.c.step)
    return list(connection.execute(query).scalars())


def remove(connection: Connection, trial_id: TrialId, steps: Sequence[int]) -> None:
    """Delete a trial's reports at these steps."""
    query = delete(_R).where(_R.c.trial_id == bindparam("of_trial"), _R.c.step == bindparam("at_step"))
    if steps:
        connection.execute(query, [{"of_trial": trial_id, "at_step": step} for step in steps])
