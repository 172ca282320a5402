"""Whose clock decides."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from tests.postgres import PostgresDatabases

from tunefleet_master.storage.database import Database

# Found before the system's own function of this name.
ANOTHER_CLOCK = """
    CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql
        AS $$ SELECT timestamptz '2001-01-01 00:00:00+00' $$;
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
    END $$;
"""


def test_on_postgres_the_database_clock_decides(postgres: PostgresDatabases) -> None:
    url = postgres.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(ANOTHER_CLOCK)
    database = Database(url)

    assert database.read(lambda uow: uow.now) == datetime(2001, 1, 1, tzinfo=UTC)
    assert database.write(lambda uow: uow.now).result(timeout=60) == datetime(2001, 1, 1, tzinfo=UTC)
    assert database.write_together(lambda uow, items: [uow.now for _ in items], None).result(timeout=60).year == 2001
    database.close()
