"""Queries on events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, text

from tunefleet.protocol import Event
from tunefleet_master.storage.engine import backend_of
from tunefleet_master.storage.locks import EVENTS
from tunefleet_master.storage.rowsets import RowInsert
from tunefleet_master.storage.tables import EventRow, table_of
from tunefleet_master.storage.unit_of_work import NewEvent

_ONE_AT_A_TIME = text(f"SELECT pg_advisory_xact_lock({EVENTS})")


_ADD = RowInsert(table_of(EventRow))
_SELECTION = select(EventRow.id, EventRow.kind, EventRow.trial, EventRow.at, EventRow.data)


def add(connection: Connection, new: Sequence[NewEvent]) -> None:
    """Record events; call it at the end of a transaction.

    A reader asks for ids above the last one it has read. So an id must not be committed after a higher one: on
    Postgres, transactions pass this point one at a time.
    """
    if not new:
        return
    if backend_of(connection) == "postgresql":
        connection.execute(_ONE_AT_A_TIME)
    rows = [
        {"study_id": event.study_id, "kind": event.kind, "trial": event.trial, "at": event.at, "data": dict(event.data)}
        for event in new
    ]
    _ADD.execute(connection, rows)


def of_kinds(connection: Connection, study_id: int, kinds: Collection[str]) -> list[Event]:
    """The study's events of these kinds, oldest first; for kinds that have few events."""
    query = _SELECTION.where(EventRow.study_id == study_id, EventRow.kind.in_(kinds)).order_by(EventRow.id)
    return [_event_of(row) for row in connection.execute(query)]


def after(connection: Connection, study_id: int, last_id: int, *, limit: int) -> list[Event]:
    """The study's events with ids above `last_id`, oldest first."""
    query = _SELECTION.where(EventRow.study_id == study_id, EventRow.id > last_id).order_by(EventRow.id).limit(limit)
    return [_event_of(row) for row in connection.execute(query)]


def _event_of(row: Row[tuple[int, str, int | None, datetime, dict[str, Any]]]) -> Event:
    return Event(id=row.id, kind=row.kind, trial=row.trial, at=row.at, data=row.data)
