"""Queries on attempts: the record of each execution, and the response to the request that ended it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, tuple_

from tunefleet.names import TrialId
from tunefleet.protocol import AttemptView
from tunefleet_master.storage.rowsets import RowInsert, RowUpdate
from tunefleet_master.storage.tables import AttemptRow, table_of
from tunefleet_master.storage.values import Trial

_A = table_of(AttemptRow)


@dataclass(frozen=True, slots=True)
class Ending:
    """The request that ended an attempt, and its response."""

    request: str
    answer: str


_BEGIN = RowInsert(_A, ("trial_id", "attempt", "worker", "started_at", "message", "log_tail"))


def begin(connection: Connection, trials: Sequence[Trial], *, now: datetime) -> None:
    """Record that each of these claimed trials has begun its newest attempt."""
    rows = [{"trial_id": it.id, "attempt": it.attempt, "worker": it.worker, "started_at": now} for it in trials]
    _BEGIN.execute(connection, rows)


_ENDED = select(_A.c.trial_id, _A.c.attempt, _A.c.request, _A.c.answer).where(
    tuple_(_A.c.trial_id, _A.c.attempt).in_(bindparam("fences", expanding=True)), _A.c.answer.is_not(None)
)


def recorded_ends(connection: Connection, fences: Collection[tuple[TrialId, int]]) -> dict[tuple[TrialId, int], Ending]:
    """The requests with which workers ended these attempts; attempts without one are left out."""
    rows = connection.execute(_ENDED, {"fences": list(fences)})
    return {(TrialId(row.trial_id), row.attempt): Ending(row.request, row.answer) for row in rows}


_CLOSE = RowUpdate(
    _A,
    key=("trial_id", "attempt"),
    columns=("ended_at", "outcome", "message", "log_tail", "request", "answer"),
)


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a trial's newest attempt, by its worker's request (`ending`) or by the master."""

    trial: Trial
    outcome: str
    message: str
    log_tail: str = ""
    ending: Ending | None = None


def close(connection: Connection, closings: Sequence[Closing], *, now: datetime) -> None:
    """Record the ends of attempts."""
    rows = [
        {
            "trial_id": closing.trial.id,
            "attempt": closing.trial.attempt,
            "ended_at": now,
            "outcome": closing.outcome,
            "message": closing.message,
            "log_tail": closing.log_tail,
            "request": closing.ending.request if closing.ending else None,
            "answer": closing.ending.answer if closing.ending else None,
        }
        for closing in closings
    ]
    _CLOSE.execute(connection, rows)


def of_trial(connection: Connection, trial_id: TrialId) -> list[AttemptView]:
    """All attempts of a trial, oldest first."""
    query = select(*AttemptRow.__table__.columns).where(AttemptRow.trial_id == trial_id).order_by(AttemptRow.attempt)
    return [
        AttemptView(
            attempt=row.attempt,
            worker=row.worker,
            started_at=row.started_at,
            ended_at=row.ended_at,
            outcome=row.outcome,
            message=row.message,
            log_tail=row.log_tail,
        )
        for row in connection.execute(query)
    ]
