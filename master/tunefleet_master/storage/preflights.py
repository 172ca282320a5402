"""Queries on preflights.

A preflight is a row in the table of trials, so that it is leased, fenced and retried like a trial.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, update

from tunefleet.protocol import StopReason, TrialState
from tunefleet.protocol.preflight import PREFLIGHT_NUMBER
from tunefleet_master.storage import trials
from tunefleet_master.storage.tables import TrialRow
from tunefleet_master.storage.values import NewTrial, Study

PREFLIGHT = "preflight"
"""The origin of a preflight, also stored as its configuration's hash."""


def add(connection: Connection, study: Study, *, now: datetime) -> None:
    """Queue the preflight of a new study. It uses none of the budget."""
    new = NewTrial(
        number=PREFLIGHT_NUMBER,
        params={},
        config_hash=PREFLIGHT,
        seed=study.spec.search.seed,
        origin=PREFLIGHT,
        position=None,
        version=study.version,
    )
    trials.add(connection, study.id, [new], now=now)


def requeue(connection: Connection, study: Study, *, now: datetime) -> None:
    """Queue a failed preflight again, with its failure counts reset."""
    failed = and_(_of(study), TrialRow.state == TrialState.FAILED)
    connection.execute(update(TrialRow).where(failed).values(trials.retry_values(now)))


def call_off(connection: Connection, study: Study, *, message: str, now: datetime) -> None:
    """Cancel a waiting preflight, and stop a running one."""
    gone = {"state": TrialState.CANCELLED, "message": message, "finished_at": now, "updated_at": now}
    connection.execute(update(TrialRow).where(_of(study), TrialRow.state == TrialState.WAITING).values(gone))
    stop = {"stop": StopReason.CANCELLED, "stop_message": message, "updated_at": now}
    still_running = and_(_of(study), TrialRow.state == TrialState.RUNNING, TrialRow.stop.is_(None))
    connection.execute(update(TrialRow).where(still_running).values(stop))


def _of(study: Study) -> Any:
    return and_(TrialRow.study_id == study.id, TrialRow.number == PREFLIGHT_NUMBER)
