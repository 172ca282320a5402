"""Queries on artifacts, bundles and the blobs that store their content."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, exists, select

from tunefleet.names import TrialId
from tunefleet.protocol import ArtifactRef
from tunefleet_master.storage.engine import backend_of
from tunefleet_master.storage.tables import ArtifactRow, BlobRow, StudyRow
from tunefleet_master.storage.upserts import insert_into


def note_blob(connection: Connection, sha256: str, *, size_bytes: int, now: datetime) -> None:
    """Record that this content was stored now."""
    query = insert_into(backend_of(connection), BlobRow).values(sha256=sha256, size_bytes=size_bytes, touched_at=now)
    connection.execute(query.on_conflict_do_update(index_elements=[BlobRow.sha256], set_={"touched_at": now}))


def has_blob(connection: Connection, sha256: str) -> bool:
    """Return True if this content is stored."""
    return connection.execute(select(BlobRow.sha256).where(BlobRow.sha256 == sha256)).first() is not None


def attach(
    connection: Connection,
    trial_id: TrialId,
    name: str,
    *,
    sha256: str,
    attempt: int,
    now: datetime,
) -> None:
    """Attach a file to the trial, and replace one of the same name from this attempt or an earlier one."""
    values = {"sha256": sha256, "attempt": attempt, "created_at": now}
    query = insert_into(backend_of(connection), ArtifactRow).values(trial_id=trial_id, name=name, **values)
    replace = query.on_conflict_do_update(
        index_elements=[ArtifactRow.trial_id, ArtifactRow.name],
        set_=values,
        where=ArtifactRow.attempt <= attempt,
    )
    connection.execute(replace)


def of_trials(
    connection: Connection, trial_ids: Sequence[TrialId], *, name: str | None = None
) -> dict[TrialId, list[ArtifactRef]]:
    """The files of each trial by name, optionally only those called `name`."""
    query = (
        select(*ArtifactRow.__table__.columns, BlobRow.size_bytes)
        .join(BlobRow, BlobRow.sha256 == ArtifactRow.sha256)
        .where(ArtifactRow.trial_id.in_(trial_ids))
        .order_by(ArtifactRow.name)
    )
    if name is not None:
        query = query.where(ArtifactRow.name == name)
    found: dict[TrialId, list[ArtifactRef]] = {trial_id: [] for trial_id in trial_ids}
    for row in connection.execute(query):
        ref = ArtifactRef(
            name=row.name,
            sha256=row.sha256,
            size_bytes=row.size_bytes,
            attempt=row.attempt,
            created_at=row.created_at,
        )
        found[row.trial_id].append(ref)
    return found


def remove_unreferenced(connection: Connection, *, untouched_since: datetime, limit: int) -> list[str]:
    """Delete the records of unreferenced blobs that were last stored before a time; return their hashes."""
    unused = (
        select(BlobRow.sha256)
        .where(
            BlobRow.touched_at < untouched_since,
            ~exists().where(ArtifactRow.sha256 == BlobRow.sha256),
            ~exists().where(StudyRow.bundle == BlobRow.sha256),
        )
        .limit(limit)
    )
    query = delete(BlobRow).where(BlobRow.sha256.in_(unused)).returning(BlobRow.sha256)
    return list(connection.execute(query).scalars())
