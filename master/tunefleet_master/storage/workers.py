"""Queries on workers, and the master's own row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from tunefleet.protocol import WorkerFacts
from tunefleet_master.storage.engine import BACKENDS, backend_of
from tunefleet_master.storage.rowsets import RowUpdate
from tunefleet_master.storage.tables import MasterRow, UtcTime, WorkerRow, table_of
from tunefleet_master.storage.upserts import UpsertInto, insert_into

_W = table_of(WorkerRow)

_KNOWN = (
    select(_W.c.name, _W.c.facts, _W.c.last_beat_at)
    .where(_W.c.name.in_(bindparam("names", expanding=True)))
    .order_by(_W.c.name)
    .with_for_update()
)
_HEARD = update(_W).where(_W.c.name.in_(bindparam("names", expanding=True))).values(last_beat_at=bindparam("now"))
_ASKS = RowUpdate(_W, key=("name",), columns=("asks", "asks_study", "asks_until"))
_ASKING = (
    select(_W.c.facts, _W.c.asks, _W.c.asks_study)
    .where(_W.c.asks > 0, _W.c.asks_until > bindparam("now", type_=UtcTime()))
    .order_by(_W.c.name)
)


def _newest_facts(new: UpsertInto) -> UpsertInto:
    changed = {"facts": new.excluded.facts, "last_beat_at": new.excluded.last_beat_at}
    return new.on_conflict_do_update(index_elements=[_W.c.name], set_=changed)


_DESCRIBE = {backend: _newest_facts(insert_into(backend, _W)) for backend in BACKENDS}


def note(connection: Connection, heard: Mapping[str, WorkerFacts], *, now: datetime) -> dict[str, datetime | None]:
    """Record that these workers made contact now, and the facts that they sent.

    The rows are locked until the transaction ends, so two concurrent requests of one worker are served one after the
    other. Returns the previous contact of each worker; None: never.
    """
    known = {row.name: row for row in connection.execute(_KNOWN, {"names": list(heard)})}
    facts = {name: it.model_dump(mode="json") for name, it in sorted(heard.items())}
    changed = [name for name in facts if name not in known or known[name].facts != facts[name]]
    unchanged = [name for name in facts if name in known and known[name].facts == facts[name]]
    if unchanged:
        connection.execute(_HEARD, {"names": unchanged, "now": now})
    if changed:
        rows = [{"name": n, "facts": facts[n], "first_seen_at": now, "last_beat_at": now} for n in changed]
        connection.execute(_DESCRIBE[backend_of(connection)], rows)
    return {name: known[name].last_beat_at if name in known else None for name in heard}


@dataclass(frozen=True, slots=True)
class Asking:
    """A worker's request for trials: the number of slots, the study (None: any), and its deadline.

    `slots` is 0 for a worker that got what it asked for and no longer waits.
    """

    slots: int
    study: str | None
    until: datetime


def note_asking(connection: Connection, asking: Mapping[str, Asking]) -> None:
    """Record the requests of workers that this transaction has noted."""
    rows = [
        {"name": name, "asks": it.slots, "asks_study": it.study, "asks_until": it.until}
        for name, it in sorted(asking.items())
    ]
    _ASKS.execute(connection, rows)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A worker that waits for trials: its facts, the number of slots, and the study (None: any)."""

    facts: WorkerFacts
    slots: int
    study: str | None


def asking(connection: Connection, *, now: datetime) -> list[Waiting]:
    """The workers that wait for a trial now."""
    rows = connection.execute(_ASKING, {"now": now})
    return [Waiting(WorkerFacts.model_validate(row.facts), row.asks, row.asks_study) for row in rows]


@dataclass(frozen=True, slots=True)
class Worker:
    """A stored worker."""

    name: str
    facts: WorkerFacts
    first_seen_at: datetime
    last_beat_at: datetime


def all_since(connection: Connection, since: datetime, *, limit: int) -> list[Worker]:
    """Return the workers heard since a time, by name."""
    query = (
        select(_W.c.name, _W.c.facts, _W.c.first_seen_at, _W.c.last_beat_at)
        .where(_W.c.last_beat_at >= since)
        .order_by(_W.c.name)
        .limit(limit)
    )
    return [
        Worker(row.name, WorkerFacts.model_validate(row.facts), row.first_seen_at, row.last_beat_at)
        for row in connection.execute(query)
    ]


def n_alive(connection: Connection, since: datetime) -> int:
    """The number of workers that made contact since a time."""
    return connection.execute(
        select(func.count()).select_from(WorkerRow).where(WorkerRow.last_beat_at >= since)
    ).scalar_one()


def forget(connection: Connection, before: datetime) -> None:
    """Delete workers that made no contact since a time."""
    connection.execute(delete(WorkerRow).where(WorkerRow.last_beat_at < before))


def last_sweep(connection: Connection) -> datetime | None:
    """The time of the last lease sweep by any master; locks it until the transaction ends."""
    return connection.execute(select(MasterRow.last_sweep_at).with_for_update()).scalar_one_or_none()


def note_sweep(connection: Connection, now: datetime) -> None:
    """Record that the master sweeps the leases now."""
    if connection.execute(update(MasterRow).values(last_sweep_at=now)).rowcount == 0:
        connection.execute(insert(MasterRow).values(id=1, last_sweep_at=now))
