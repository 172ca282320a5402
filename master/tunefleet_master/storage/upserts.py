"""`INSERT ... ON CONFLICT`, which SQLite and Postgres write alike and SQLAlchemy spells for each of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from tunefleet_master.storage.engine import backend_of


def insert_into(connection: Connection, table: Any) -> postgresql.Insert | sqlite.Insert:
    """An insert that has `on_conflict_do_update`, for the connection's database."""
    return postgresql.insert(table) if backend_of(connection) == "postgresql" else sqlite.insert(table)
