"""Queries on leases: the time-limited ownership of trials.

Each write is one guarded statement; the guard's loser changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Float, bindparam, func, select, tuple_, type_coerce, update

from tunefleet.names import TrialId
from tunefleet.protocol import StopReason, TrialState
from tunefleet_master.storage.tables import TrialRow
from tunefleet_master.storage.trials import in_order, selection
from tunefleet_master.storage.values import Trial, trial_of

LIVE = (TrialState.RUNNING, TrialState.WAITING)

Fence = tuple[TrialId, int]
"""A trial and the attempt that a request is made for."""


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
        .with_for_update(skip_locked=True)  # another master takes the next ones instead of waiting for ours
        .cte("queue")
    )
    query = (
        update(TrialRow)
        .where(TrialRow.id.in_(select(queue.c.id)), TrialRow.state == TrialState.WAITING)
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
    return in_order(connection, [TrialId(trial_id) for trial_id in connection.execute(query).scalars()])


def claimed_by_requests(connection: Connection, requests: Collection[tuple[str, str]]) -> list[tuple[str, Trial]]:
    """What these very requests, each a worker and an id, were given before and still hold; with the request's id."""
    if not requests:
        return []
    query = selection().where(
        tuple_(TrialRow.worker, TrialRow.request_id).in_(requests),
        TrialRow.state == TrialState.RUNNING,
        TrialRow.attempt_open,
    )
    return [(row.request_id, trial_of(row)) for row in connection.execute(query.order_by(TrialRow.rank, TrialRow.id))]


def held(connection: Connection, fences: Collection[Fence]) -> dict[Fence, Trial]:
    """The trials whose newest attempt is the one named, and has not ended.

    Their leases may have run out, as long as nobody took the trials since. Nobody else can change them until the
    transaction ends. They are taken in the order of their ids, so that two masters cannot wait for each other.
    """
    if not fences:
        return {}
    query = selection().where(
        tuple_(TrialRow.id, TrialRow.attempt).in_(fences),
        TrialRow.attempt_open,
        TrialRow.state.in_(LIVE),
    )
    locked = query.order_by(TrialRow.id).with_for_update(of=TrialRow)
    trials = [trial_of(row) for row in connection.execute(locked)]
    return {(trial.id, trial.attempt): trial for trial in trials}


def extend(connection: Connection, trial_ids: Collection[TrialId], *, deadline: datetime) -> None:
    """Extend the leases of trials that this transaction has found `held`, reviving those that ran out."""
    if trial_ids:
        query = update(TrialRow).where(TrialRow.id.in_(trial_ids), TrialRow.state.in_(LIVE), TrialRow.attempt_open)
        connection.execute(query.values(state=TrialState.RUNNING, lease_deadline=deadline))


def note_progress(connection: Connection, progress: Sequence[Mapping[str, Any]], *, deadline: datetime) -> None:
    """Extend leases and write what reports have brought, for trials that this transaction has found `held`.

    Args:
        connection: in a transaction.
        progress: for each trial its `trial_id`, its attempt as `of_attempt`, and the columns of PROGRESS.
        deadline: of the leases.
    """
    query = (
        update(TrialRow)
        .where(TrialRow.id == bindparam("trial_id"), TrialRow.attempt == bindparam("of_attempt"))
        .values(state=TrialState.RUNNING, lease_deadline=deadline, **{name: bindparam(name) for name in PROGRESS})
    )
    connection.execute(query, list(progress))


PROGRESS = ("interim_value", "best_step", "last_step", "metrics")
"""The columns that reports change; none of them is in an index."""


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
    """Running trials whose lease has run out, the longest overdue first; those in another's hands are left out."""
    query = selection().where(TrialRow.state == TrialState.RUNNING, TrialRow.lease_deadline < now)
    ordered = query.order_by(TrialRow.lease_deadline).limit(limit).with_for_update(of=TrialRow, skip_locked=True)
    return [trial_of(row) for row in connection.execute(ordered)]


def extend_all(connection: Connection, by: timedelta) -> None:
    """Move every deadline; for the time that the master itself was away."""
    query = (
        update(TrialRow)
        .where(TrialRow.state == TrialState.RUNNING)
        .values(lease_deadline=type_coerce(TrialRow.lease_deadline, Float) + by.total_seconds())
    )
    connection.execute(query)


def cap_all(connection: Connection, deadline: datetime) -> None:
    """Bring back every deadline that lies behind `deadline`, which none can unless a clock was set."""
    query = update(TrialRow).where(TrialRow.state == TrialState.RUNNING, TrialRow.lease_deadline > deadline)
    connection.execute(query.values(lease_deadline=deadline))


def held_by(connection: Connection, workers: Sequence[str]) -> list[Trial]:
    """The running trials of these workers."""
    query = selection().where(TrialRow.worker.in_(workers), TrialRow.state == TrialState.RUNNING)
    return [trial_of(row) for row in connection.execute(query.order_by(TrialRow.id))]
