"""Queries on attempts: the record of each execution, and the answer to the request that ended it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, tuple_, update

from tunefleet.names import TrialId
from tunefleet.protocol import AttemptView
from tunefleet_master.storage.tables import AttemptRow
from tunefleet_master.storage.values import Trial


@dataclass(frozen=True, slots=True)
class Ending:
    """The request that ended an attempt, and the answer that it got."""

    request: str
    answer: str


def begin(connection: Connection, trials: Sequence[Trial], *, now: datetime) -> None:
    """Record that each of these claimed trials has begun its newest attempt."""
    rows = [
        {
            "trial_id": trial.id,
            "attempt": trial.attempt,
            "worker": trial.worker,
            "started_at": now,
        }
        for trial in trials
    ]
    connection.execute(insert(AttemptRow), rows)


def endings(connection: Connection, pairs: Collection[tuple[TrialId, int]]) -> dict[tuple[TrialId, int], Ending]:
    """How these attempts were ended by their workers; those that were not are left out."""
    query = select(AttemptRow.trial_id, AttemptRow.attempt, AttemptRow.request, AttemptRow.answer).where(
        tuple_(AttemptRow.trial_id, AttemptRow.attempt).in_(pairs),
        AttemptRow.answer.is_not(None),
    )
    return {(TrialId(row.trial_id), row.attempt): Ending(row.request, row.answer) for row in connection.execute(query)}


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
        "ended_at": now,
        "outcome": outcome,
        "message": message,
        "log_tail": log_tail,
        "request": ending.request if ending else None,
        "answer": ending.answer if ending else None,
    }
    newest = (AttemptRow.trial_id == trial.id, AttemptRow.attempt == trial.attempt)
    connection.execute(update(AttemptRow).where(*newest).values(values))


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
