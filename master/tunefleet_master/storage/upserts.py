"""`INSERT ... ON CONFLICT`, which SQLAlchemy builds separately for SQLite and Postgres."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite

from tunefleet_master.storage.engine import Backend

UpsertInto = postgresql.Insert | sqlite.Insert


def insert_into(backend: Backend, table: Any) -> UpsertInto:
    """An insert with `on_conflict_do_update` for this kind of database."""
    return postgresql.insert(table) if backend == "postgresql" else sqlite.insert(table)
