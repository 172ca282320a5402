"""SQLAlchemy engines for SQLite, set up so that a commit is on the disk, and the driver's errors in our words."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from tunefleet.errors import NotAvailableYet, Problem, StorageUnusable

BUSY_TIMEOUT_MS = 10_000
CACHE_KIB = 64_000


def make_engine(url: str, *, read_only: bool) -> Engine:
    """An engine whose transactions begin and end where SQLAlchemy says, and not where the driver guesses.

    Raises:
        NotAvailableYet: the URL names another database than SQLite.
        StorageUnusable: the URL cannot be parsed.
    """
    try:
        backend = make_url(url).get_backend_name()
    except ArgumentError as error:
        raise StorageUnusable(f"{url!r} is not a database URL.", hint="Write sqlite:////absolute/path.db") from error
    if backend != "sqlite":
        raise NotAvailableYet([Problem("database", "only SQLite is available in this version", backend)])
    engine = create_engine(url, poolclass=QueuePool, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin or commit by itself
        for pragma in _pragmas(read_only=read_only):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _pragmas(*, read_only: bool) -> list[str]:
    pragmas = [
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
        f"cache_size=-{CACHE_KIB}",
        "temp_store=MEMORY",
    ]
    if read_only:
        return [*pragmas, "query_only=ON"]
    # FULL: in WAL mode NORMAL would lose acknowledged commits with the power.
    return [*pragmas, "journal_mode=WAL", "synchronous=FULL"]


def storage_problem(error: DBAPIError) -> StorageUnusable:
    """What the driver's error means for the person who runs the master."""
    text = str(error.orig)
    for sign, message, hint in (
        (
            "full",
            "the disk under the database is full.",
            "Free some space; the master goes on by itself.",
        ),
        (
            "malformed",
            "the database file is corrupt.",
            "Restore it from a copy, or start with another data folder.",
        ),
        (
            "not a database",
            "the database file is not a SQLite database.",
            "Restore it from a copy, or name another file.",
        ),
        (
            "locked",
            "the database is locked by another program.",
            "Only one master may use a SQLite file.",
        ),
        (
            "readonly",
            "the database cannot be written.",
            "Check the owner and the rights of the file and its folder.",
        ),
        (
            "unable to open",
            "the database file cannot be opened.",
            "Check that its folder exists and may be written.",
        ),
    ):
        if sign in text:
            return StorageUnusable(message, hint=hint)
    return StorageUnusable(f"the database failed: {text}.", hint="Look at the master's log.")
