"""Queries on workers, and the master's own row."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from tunefleet.protocol import WorkerFacts
from tunefleet_master.storage.tables import MasterRow, WorkerRow


def note(connection: Connection, name: str, facts: WorkerFacts, *, now: datetime) -> None:
    """Record that the worker was heard now, and what it says of itself."""
    values = {"facts": facts.model_dump(mode="json"), "last_beat_at": now}
    query = insert(WorkerRow).values(name=name, first_seen_at=now, **values)
    connection.execute(query.on_conflict_do_update(index_elements=[WorkerRow.name], set_=values))


def all_since(connection: Connection, since: datetime, *, limit: int) -> list[Row[*tuple[Any, ...]]]:
    """Workers heard since a time, by name."""
    query = select(*WorkerRow.__table__.columns).where(WorkerRow.last_beat_at >= since).order_by(WorkerRow.name)
    return list(connection.execute(query.limit(limit)))


def n_alive(connection: Connection, since: datetime) -> int:
    """How many workers were heard since a time."""
    return connection.execute(
        select(func.count()).select_from(WorkerRow).where(WorkerRow.last_beat_at >= since)
    ).scalar_one()


def forget(connection: Connection, before: datetime) -> None:
    """Remove workers that were last heard before a time."""
    connection.execute(delete(WorkerRow).where(WorkerRow.last_beat_at < before))


def last_sweep(connection: Connection) -> datetime | None:
    """When the master last looked after its leases."""
    return connection.execute(select(MasterRow.last_sweep_at)).scalar_one_or_none()


def note_sweep(connection: Connection, now: datetime) -> None:
    """Record that the master looks after its leases now."""
    if connection.execute(update(MasterRow).values(last_sweep_at=now)).rowcount == 0:
        connection.execute(insert(MasterRow).values(id=1, last_sweep_at=now))
