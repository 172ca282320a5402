"""Queries on the whole fleet, for its gauges.

Each reads waiting and running rows through an index that leads with the state, and never finished rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, func, select

from tunefleet.protocol import StudyState, TrialState
from tunefleet_master.storage.tables import AttemptRow, MasterRow, StudyRow, TrialRow


@dataclass(frozen=True, slots=True)
class Leases:
    """The leases of all running trials."""

    n: int
    n_overdue: int
    next_deadline: datetime | None


def studies_by_state(connection: Connection) -> Mapping[StudyState, int]:
    """The number of studies in each state."""
    query = select(StudyRow.state, func.count()).group_by(StudyRow.state)
    return {StudyState(state): n for state, n in connection.execute(query)}


def n_waiting(connection: Connection) -> int:
    """The number of trials that wait in the queues of running studies."""
    query = (
        select(func.count())
        .select_from(StudyRow)
        .join(TrialRow, and_(TrialRow.study_id == StudyRow.id, TrialRow.state == TrialState.WAITING))
        .where(StudyRow.state == StudyState.RUNNING)
    )
    return connection.execute(query).scalar_one()


def leases(connection: Connection, *, now: datetime) -> Leases:
    """Count the running trials and the expired leases, and find the next deadline."""
    overdue = func.count().filter(TrialRow.lease_deadline < now)
    query = select(func.count(), overdue, func.min(TrialRow.lease_deadline)).where(TrialRow.state == TrialState.RUNNING)
    n, n_overdue, next_deadline = connection.execute(query).one()
    return Leases(n, n_overdue, next_deadline)


def oldest_claim(connection: Connection) -> datetime | None:
    """The claim time of the longest running attempt; None when nothing runs."""
    query = (
        select(func.min(AttemptRow.started_at))
        .select_from(TrialRow)
        .join(AttemptRow, and_(AttemptRow.trial_id == TrialRow.id, AttemptRow.attempt == TrialRow.attempt))
        .where(TrialRow.state == TrialState.RUNNING)
    )
    return connection.execute(query).scalar_one()


def last_sweep(connection: Connection) -> datetime | None:
    """The time of the last lease sweep by any master; None: never."""
    return connection.execute(select(MasterRow.last_sweep_at)).scalar_one_or_none()
