"""Migrations of the tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect, text

from tunefleet.errors import StorageUnusable
from tunefleet_master.storage.engine import backend_of
from tunefleet_master.storage.faults import translated
from tunefleet_master.storage.locks import MIGRATIONS


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The revisions of a database before and after its upgrade; None: it was empty."""

    before: str | None
    after: str


def upgrade(engine: Engine) -> Upgrade:
    """Migrate the tables to this program's revision, in one transaction.

    Raises:
        StorageUnusable: the database is corrupt, belongs to another program, or to a newer version of this one;
            nothing has changed.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    script = ScriptDirectory.from_config(config)
    newest = script.get_current_head()
    assert newest is not None  # the package contains its migrations
    with translated(), engine.connect() as connection, connection.begin():
        _one_at_a_time(connection)
        before = _current(connection, script)
        if before != newest:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return Upgrade(before, newest)


def _one_at_a_time(connection: Connection) -> None:
    """Wait until no other master changes the tables; on SQLite the transaction already locks the whole file."""
    if backend_of(connection) == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATIONS})"))


def _current(connection: Connection, script: ScriptDirectory) -> str | None:
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        if inspect(connection).has_table("trials"):
            raise StorageUnusable(
                "the database has tables of another program.",
                hint="Name another database.",
            )
        return None
    try:
        script.get_revision(revision)
    except CommandError as error:
        raise StorageUnusable(
            f"the database belongs to a newer version of Tunefleet (revision {revision}).",
            hint="Upgrade Tunefleet, or name another database. Nothing was changed.",
        ) from error
    return revision
