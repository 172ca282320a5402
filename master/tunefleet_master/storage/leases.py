"""Queries on leases: the time-limited ownership of trials.

Each write is one guarded statement; the guard's loser changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Float, and_, func, select, tuple_, type_coerce, update

from tunefleet.names import TrialId
from tunefleet.protocol import HeldLease, StopReason, TrialState
from tunefleet_master.storage.tables import TrialRow
from tunefleet_master.storage.trials import get, in_order, selection
from tunefleet_master.storage.values import Trial, trial_of

LIVE = (TrialState.RUNNING, TrialState.WAITING)


def claim(
    connection: Connection,
    study_id: int,
    *,
    limit: int,
    worker: str,
    request_id: str | None,
    deadline: datetime,
    now: datetime,
) -> list[Trial]:
    """Give up to `limit` waiting trials to the worker, raising each one's attempt in the same statement."""
    queue = (
        select(TrialRow.id)
        .where(TrialRow.study_id == study_id, TrialRow.state == TrialState.WAITING)
        .order_by(TrialRow.rank, TrialRow.id)
        .limit(limit)
    )
    query = (
        update(TrialRow)
        .where(TrialRow.id.in_(queue), TrialRow.state == TrialState.WAITING)
        .values(
            state=TrialState.RUNNING,
            attempt=TrialRow.attempt + 1,
            attempt_open=True,
            worker=worker,
            request_id=request_id,
            lease_deadline=deadline,
            stop=None,
            stop_message="",
            failure=None,
            message="",
            started_at=func.coalesce(TrialRow.started_at, now.timestamp()),
            updated_at=now,
        )
        .returning(TrialRow.id)
    )
    return in_order(
        connection,
        [TrialId(trial_id) for trial_id in connection.execute(query).scalars()],
    )


def claimed_by_request(connection: Connection, worker: str, request_id: str) -> list[Trial]:
    """What this very request was given before and still holds."""
    query = selection().where(
        TrialRow.request_id == request_id,
        TrialRow.worker == worker,
        TrialRow.state == TrialState.RUNNING,
        TrialRow.attempt_open,
    )
    return [trial_of(row) for row in connection.execute(query.order_by(TrialRow.rank, TrialRow.id))]


def _held(trial_id: TrialId, attempt: int) -> ColumnElement[bool]:
    """The attempt is the trial's newest and has not ended.

    Its lease may have run out, as long as nobody took the trial since.
    """
    return and_(
        TrialRow.id == trial_id,
        TrialRow.attempt == attempt,
        TrialRow.attempt_open,
        TrialRow.state.in_(LIVE),
    )


def touch(connection: Connection, trial_id: TrialId, attempt: int, *, deadline: datetime) -> Trial | None:
    """Extend the lease of an attempt, reviving one that ran out; None when the attempt does not hold the trial."""
    query = (
        update(TrialRow)
        .where(_held(trial_id, attempt))
        .values(state=TrialState.RUNNING, lease_deadline=deadline)
        .returning(TrialRow.id)
    )
    if connection.execute(query).scalar_one_or_none() is None:
        return None
    return get(connection, trial_id)


def extend(
    connection: Connection,
    leases: Sequence[HeldLease],
    *,
    worker: str,
    deadline: datetime,
) -> list[Trial]:
    """`touch` for many; returns the trials that are still held."""
    pairs = [(lease.trial_id, lease.attempt) for lease in leases]
    held = and_(
        tuple_(TrialRow.id, TrialRow.attempt).in_(pairs),
        TrialRow.worker == worker,
        TrialRow.attempt_open,
        TrialRow.state.in_(LIVE),
    )
    query = (
        update(TrialRow).where(held).values(state=TrialState.RUNNING, lease_deadline=deadline).returning(TrialRow.id)
    )
    return in_order(
        connection,
        [TrialId(trial_id) for trial_id in connection.execute(query).scalars()],
    )


def order_stop(
    connection: Connection,
    trial_id: TrialId,
    reason: StopReason,
    *,
    message: str,
    now: datetime,
) -> None:
    """Tell a running trial to stop; the first order stands."""
    query = (
        update(TrialRow)
        .where(
            TrialRow.id == trial_id,
            TrialRow.state == TrialState.RUNNING,
            TrialRow.stop.is_(None),
        )
        .values(stop=reason, stop_message=message, updated_at=now)
    )
    connection.execute(query)


def expired(connection: Connection, *, now: datetime, limit: int) -> list[Trial]:
    """Running trials whose lease has run out, the longest overdue first."""
    query = selection().where(TrialRow.state == TrialState.RUNNING, TrialRow.lease_deadline < now)
    return [trial_of(row) for row in connection.execute(query.order_by(TrialRow.lease_deadline).limit(limit))]


def extend_all(connection: Connection, by: timedelta) -> None:
    """Move every deadline; for the time that the master itself was away."""
    query = (
        update(TrialRow)
        .where(TrialRow.state == TrialState.RUNNING)
        .values(lease_deadline=type_coerce(TrialRow.lease_deadline, Float) + by.total_seconds())
    )
    connection.execute(query)


def held_by(connection: Connection, workers: Sequence[str]) -> list[Trial]:
    """The running trials of these workers."""
    query = selection().where(TrialRow.worker.in_(workers), TrialRow.state == TrialState.RUNNING)
    return [trial_of(row) for row in connection.execute(query.order_by(TrialRow.id))]
