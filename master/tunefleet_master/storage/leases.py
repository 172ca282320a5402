"""Queries on leases: the time-limited ownership of trials.

Each write is one guarded statement. A write that fails its guard changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, tuple_, update

from tunefleet.names import TrialId
from tunefleet.protocol import StopReason, TrialState
from tunefleet.protocol.preflight import PREFLIGHT_NUMBER
from tunefleet.study.states import LIVE
from tunefleet_master.storage.rowsets import RowUpdate
from tunefleet_master.storage.tables import TrialRow, UtcTime, table_of
from tunefleet_master.storage.trials import selection
from tunefleet_master.storage.values import Study, Trial, trial_of

_T = table_of(TrialRow)
MAX_NUMBER = 2**31 - 1  # the largest value of the column

Fence = tuple[TrialId, int]
"""A trial and an attempt of it; the attempt number is the fencing token."""


_queue = (
    select(_T.c.id)
    .where(_T.c.study_id == bindparam("in_study"), _T.c.state == TrialState.WAITING, _T.c.number <= bindparam("up_to"))
    .order_by(_T.c.rank, _T.c.id)
    .limit(bindparam("at_most"))
    .with_for_update(skip_locked=True)  # another master takes the next trials instead of waiting for ours
    .cte("queue")
)
_CLAIM = (
    update(_T)
    .where(_T.c.id.in_(select(_queue.c.id)), _T.c.state == TrialState.WAITING)
    .values(
        state=TrialState.RUNNING,
        attempt=_T.c.attempt + 1,
        attempt_open=True,
        worker=bindparam("by_worker"),
        request_id=bindparam("by_request"),
        lease_deadline=bindparam("deadline"),
        stop=None,
        stop_message="",
        failure=None,
        message="",
        started_at=func.coalesce(_T.c.started_at, bindparam("now", type_=UtcTime())),
        updated_at=bindparam("now", type_=UtcTime()),
    )
    .returning(*_T.c)
)


@dataclass(frozen=True, slots=True)
class Claimant:
    """The worker and request that claim trials, and the deadline of the leases."""

    worker: str
    request_id: str | None
    deadline: datetime


def claim(connection: Connection, study: Study, claimant: Claimant, *, limit: int, now: datetime) -> list[Trial]:
    """Lease up to `limit` waiting trials to the worker, and raise each trial's attempt in the same statement.

    While a study's preflight is pending, only the preflight can be claimed.
    """
    values = {
        "in_study": study.id,
        "up_to": MAX_NUMBER if study.is_checked else PREFLIGHT_NUMBER,
        "at_most": limit,
        "by_worker": claimant.worker,
        "by_request": claimant.request_id,
        "deadline": claimant.deadline,
        "now": now,
    }
    rows = sorted(connection.execute(_CLAIM, values), key=lambda row: (row.rank, row.id))
    return [trial_of(row, study.name) for row in rows]


_CLAIMED = (
    selection()
    .where(
        tuple_(_T.c.worker, _T.c.request_id).in_(bindparam("requests", expanding=True)),
        _T.c.state == TrialState.RUNNING,
        _T.c.attempt_open,
    )
    .order_by(_T.c.rank, _T.c.id)
)


def claimed_by_requests(connection: Connection, requests: Collection[tuple[str, str]]) -> list[tuple[str, Trial]]:
    """Trials that these requests, each a worker and a request id, claimed and still hold; with the request id."""
    if not requests:
        return []
    rows = connection.execute(_CLAIMED, {"requests": list(requests)})
    return [(row.request_id, trial_of(row, row.study)) for row in rows]


_HELD = (
    selection()
    .where(
        tuple_(_T.c.id, _T.c.attempt).in_(bindparam("fences", expanding=True)),
        _T.c.attempt_open,
        _T.c.state.in_(LIVE),
    )
    .order_by(_T.c.id)
    .with_for_update(of=_T, key_share=True)
)


def held(connection: Connection, fences: Collection[Fence]) -> dict[Fence, Trial]:
    """The trials whose newest attempt is the one in the fence and has not ended.

    A lease may have expired, as long as nobody claimed the trial since. The rows are locked until the transaction
    ends, in the order of their ids, so that two masters cannot deadlock.
    """
    if not fences:
        return {}
    trials = [trial_of(row, row.study) for row in connection.execute(_HELD, {"fences": list(fences)})]
    return {(trial.id, trial.attempt): trial for trial in trials}


_EXTEND = (
    update(_T)
    .where(_T.c.id.in_(bindparam("trial_ids", expanding=True)), _T.c.state.in_(LIVE), _T.c.attempt_open)
    .values(state=TrialState.RUNNING, lease_deadline=bindparam("deadline"))
)


def extend(connection: Connection, trial_ids: Collection[TrialId], *, deadline: datetime) -> None:
    """Extend the leases of trials that this transaction has found `held`, and revive expired ones."""
    if trial_ids:
        connection.execute(_EXTEND, {"trial_ids": list(trial_ids), "deadline": deadline})


# None of these columns is in an index, so Postgres need not update any index.
_PROGRESS = RowUpdate(
    _T,
    key=("id", "attempt"),
    columns=("state", "lease_deadline", "interim_value", "best_step", "last_step", "metrics"),
)


def note_progress(connection: Connection, trials: Iterable[Trial], *, deadline: datetime) -> None:
    """Extend leases and write the progress from reports, for trials that this transaction has found `held`."""
    rows = [
        {
            "id": trial.id,
            "attempt": trial.attempt,
            "state": TrialState.RUNNING,
            "lease_deadline": deadline,
            "interim_value": trial.value,
            "best_step": trial.best_step,
            "last_step": trial.last_step,
            "metrics": trial.metrics,
        }
        for trial in trials
    ]
    _PROGRESS.execute(connection, rows)


def order_stop(
    connection: Connection,
    trial_id: TrialId,
    reason: StopReason,
    *,
    message: str,
    now: datetime,
) -> None:
    """Order a running trial to stop; a later order does not replace the first."""
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
    """Running trials with expired leases, the longest overdue first, without those that another master has locked."""
    query = selection().where(TrialRow.state == TrialState.RUNNING, TrialRow.lease_deadline < now)
    ordered = query.order_by(TrialRow.lease_deadline).limit(limit).with_for_update(of=TrialRow, skip_locked=True)
    return [trial_of(row, row.study) for row in connection.execute(ordered)]


def extend_all(connection: Connection, deadline: datetime) -> None:
    """Give every running trial a full lease, after a time without any master."""
    query = update(TrialRow).where(TrialRow.state == TrialState.RUNNING)
    connection.execute(query.values(lease_deadline=deadline))


def cap_all(connection: Connection, deadline: datetime) -> None:
    """Cap every deadline at `deadline`; a later deadline exists only when a clock was changed."""
    query = update(TrialRow).where(TrialRow.state == TrialState.RUNNING, TrialRow.lease_deadline > deadline)
    connection.execute(query.values(lease_deadline=deadline))


def held_by(connection: Connection, workers: Sequence[str]) -> list[Trial]:
    """The running trials of these workers."""
    query = selection().where(TrialRow.worker.in_(workers), TrialRow.state == TrialState.RUNNING)
    return [trial_of(row, row.study) for row in connection.execute(query.order_by(TrialRow.id))]
