"""Queries on attempts: the record of each execution, and the answer to the request that ended it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select, tuple_, update

from tunefleet.names import TrialId
from tunefleet.protocol import AttemptView
from tunefleet_master.storage.tables import AttemptRow, table_of
from tunefleet_master.storage.values import Trial

_A = table_of(AttemptRow)


@dataclass(frozen=True, slots=True)
class Ending:
    """The request that ended an attempt, and the answer that it got."""

    request: str
    answer: str


_BEGIN = insert(_A)


def begin(connection: Connection, trials: Sequence[Trial], *, now: datetime) -> None:
    """Record that each of these claimed trials has begun its newest attempt."""
    rows = [{"trial_id": it.id, "attempt": it.attempt, "worker": it.worker, "started_at": now} for it in trials]
    connection.execute(_BEGIN, rows)


_ENDED = select(_A.c.trial_id, _A.c.attempt, _A.c.request, _A.c.answer).where(
    tuple_(_A.c.trial_id, _A.c.attempt).in_(bindparam("fences", expanding=True)), _A.c.answer.is_not(None)
)


def endings(connection: Connection, fences: Collection[tuple[TrialId, int]]) -> dict[tuple[TrialId, int], Ending]:
    """How these attempts were ended by their workers; those that were not are left out."""
    rows = connection.execute(_ENDED, {"fences": list(fences)})
    return {(TrialId(row.trial_id), row.attempt): Ending(row.request, row.answer) for row in rows}


_CLOSE = (
    update(_A)
    .where(_A.c.trial_id == bindparam("of_trial"), _A.c.attempt == bindparam("of_attempt"))
    .values(
        ended_at=bindparam("now"),
        outcome=bindparam("how"),
        message=bindparam("words"),
        log_tail=bindparam("tail"),
        request=bindparam("asked"),
        answer=bindparam("answered"),
    )
)


def close(
    connection: Connection,
    trial: Trial,
    *,
    outcome: str,
    message: str,
    now: datetime,
    log_tail: str = "",
    ending: Ending | None = None,
) -> None:
    """Record how the trial's newest attempt ended, by its worker's request (`ending`) or without its word."""
    values = {
        "of_trial": trial.id,
        "of_attempt": trial.attempt,
        "now": now,
        "how": outcome,
        "words": message,
        "tail": log_tail,
        "asked": ending.request if ending else None,
        "answered": ending.answer if ending else None,
    }
    connection.execute(_CLOSE, values)


def of_trial(connection: Connection, trial_id: TrialId) -> list[AttemptView]:
    """All attempts of a trial, the first first."""
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
