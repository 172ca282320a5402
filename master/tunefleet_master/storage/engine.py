"""SQLAlchemy engines for SQLite and Postgres, configured so that an acknowledged commit is on the disk."""

from __future__ import annotations

import importlib
import logging
import sqlite3
from types import ModuleType
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from tunefleet.errors import StorageUnusable

Backend = Literal["sqlite", "postgresql"]
BACKENDS: tuple[Backend, ...] = ("sqlite", "postgresql")

log = logging.getLogger(__name__)

BUSY_TIMEOUT_MS = 10_000
CACHE_KIB = 64_000

# sqlite.org/wal.html, "the WAL-reset bug": a checkpoint that races with a writer can lose commits.
WAL_RESET_BUG = ((3, 7, 0), (3, 51, 2))

POSTGRES_SESSION = {
    # Longer than any of our statements except the removal of a huge study.
    "statement_timeout": "60s",
    "lock_timeout": "10s",
    # A master that stops inside a transaction must not block the others.
    "idle_in_transaction_session_timeout": "15s",
    "application_name": "tunefleet-master",
    "jit": "off",
}
CONNECT_WITHIN_S = 5

# A connection that broke silently is given up after about this time.
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}


def parse_url(text: str) -> URL:
    """Parse the URL of a database that the master supports, and set the driver.

    Raises:
        StorageUnusable: the text is not a URL, or names an unsupported kind of database.
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        hint = "Write sqlite:////absolute/path.db or postgresql://user@host/database."
        raise StorageUnusable(f"{text!r} is not a database URL.", hint=hint) from error
    kind = url.get_backend_name()
    if kind in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if kind == "sqlite":
        return url
    hint = "Write sqlite:////absolute/path.db or postgresql://user@host/database."
    raise StorageUnusable(f"the master does not support {kind}; it runs on SQLite and Postgres.", hint=hint)


def backend_of(engine: Engine | Connection) -> Backend:
    """The kind of database."""
    return "postgresql" if engine.dialect.name == "postgresql" else "sqlite"


def make_engine(text: str, *, read_only: bool, pool_size: int = 5) -> Engine:
    """Create an engine whose transactions begin and end where SQLAlchemy asks, not where the driver guesses.

    Raises:
        StorageUnusable: the URL cannot be parsed, or names an unsupported kind of database.
    """
    url = parse_url(text)
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, read_only=read_only, pool_size=pool_size)
    return _postgres(url, read_only=read_only, pool_size=pool_size)


def _sqlite(url: URL, *, read_only: bool, pool_size: int) -> Engine:
    engine = create_engine(
        url,
        module=sqlite_module(),
        poolclass=QueuePool,
        pool_size=pool_size,
        connect_args={"check_same_thread": False},
    )

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
    # FULL: in WAL mode, NORMAL would lose acknowledged commits when the power fails.
    return [*pragmas, "journal_mode=WAL", "synchronous=FULL"]


def sqlite_module() -> ModuleType:
    """The newest SQLite that can be imported: `pysqlite3` or the interpreter's own."""
    try:
        packaged = importlib.import_module("pysqlite3")
    except ImportError:
        return sqlite3
    newer = packaged.sqlite_version_info > sqlite3.sqlite_version_info
    return packaged if newer else sqlite3


def warn_of_known_bugs(engine: Engine) -> None:
    """Log a warning when this SQLite has a bug that can lose data."""
    if backend_of(engine) != "sqlite":
        return
    version = tuple(sqlite_module().sqlite_version_info)
    first, last = WAL_RESET_BUG
    if first <= version <= last:
        log.warning(
            "SQLite %s has the WAL-reset bug (sqlite.org/wal.html). The master writes through one connection, which "
            "avoids the bug. `pip install pysqlite3` installs a SQLite without it.",
            ".".join(map(str, version)),
        )


def _postgres(url: URL, *, read_only: bool, pool_size: int) -> Engine:
    # All statements of one read must see the same state, as on SQLite.
    isolation = "REPEATABLE READ" if read_only else "READ COMMITTED"
    settings = {**POSTGRES_SESSION, "default_transaction_read_only": "on" if read_only else "off"}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return create_engine(
        url,
        isolation_level=isolation,
        pool_size=pool_size,
        max_overflow=0,
        connect_args={"options": options, "connect_timeout": CONNECT_WITHIN_S, **KEEPALIVES},
    )
