"""Queries on events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from tunefleet.protocol import Event
from tunefleet_master.storage.tables import EventRow


def add(
    connection: Connection,
    study_id: int,
    kind: str,
    *,
    trial: int | None,
    data: Mapping[str, Any],
    now: datetime,
) -> None:
    """Record that something happened."""
    values = {
        "study_id": study_id,
        "kind": kind,
        "trial": trial,
        "at": now,
        "data": dict(data),
    }
    connection.execute(insert(EventRow).values(values))


def after(connection: Connection, study_id: int, last_id: int, *, limit: int) -> list[Event]:
    """The study's events with ids above `last_id`, oldest first."""
    query = (
        select(EventRow.id, EventRow.kind, EventRow.trial, EventRow.at, EventRow.data)
        .where(EventRow.study_id == study_id, EventRow.id > last_id)
        .order_by(EventRow.id)
        .limit(limit)
    )
    return [
        Event(id=row.id, kind=row.kind, trial=row.trial, at=row.at, data=row.data) for row in connection.execute(query)
    ]
