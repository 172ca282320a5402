"""The group-commit writer: grouping, rollback and responses."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import text

from tunefleet.errors import StorageUnusable
from tunefleet_master.storage import migrations
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.unit_of_work import UnitOfWork


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    database.write(lambda uow: uow.connection.execute(text("create table t (x integer primary key)"))).result()
    yield database
    database.close()


def insert(uow: UnitOfWork, x: int) -> int:
    uow.connection.execute(text("insert into t values (:x)"), {"x": x})
    uow.notify_after_commit(f"inserted {x}")
    return x


def held(database: Database) -> list[int]:
    return database.read(lambda uow: list(uow.connection.execute(text("select x from t order by x")).scalars()))


def in_one_batch(database: Database, *works: Callable[[UnitOfWork], int]) -> list[Future[int]]:
    """Queue all works while the writer is busy, so that they share a transaction."""
    gate, busy = Event(), Event()

    def block(_: UnitOfWork) -> None:
        busy.set()
        gate.wait(60)

    first = database.write(block)
    busy.wait(60)
    futures = [database.write(work) for work in works]
    gate.set()
    first.result()
    return futures


def test_requests_that_wait_share_one_transaction_and_are_all_answered(database: Database) -> None:
    futures = in_one_batch(database, *[lambda uow, x=x: insert(uow, x) for x in range(100)])
    assert [future.result() for future in futures] == list(range(100))
    assert held(database) == list(range(100))


def test_a_request_that_fails_undoes_only_itself(database: Database) -> None:
    def fail(uow: UnitOfWork) -> int:
        insert(uow, 50)
        raise ValueError("no")

    first, bad, double, last = in_one_batch(
        database, lambda uow: insert(uow, 1), fail, lambda uow: insert(uow, 1), lambda uow: insert(uow, 2)
    )
    assert (first.result(), last.result()) == (1, 2)
    with pytest.raises(ValueError, match="no"):
        bad.result()
    with pytest.raises(Exception, match="UNIQUE"):
        double.result()
    assert held(database) == [1, 2]


def test_an_answer_is_given_after_the_commit(database: Database, tmp_path: Path) -> None:
    database.write(lambda uow: insert(uow, 7)).result()
    assert sqlite3.connect(tmp_path / "x.db").execute("select x from t").fetchall() == [(7,)]


def test_topics_are_published_after_the_commit_and_not_without_one(tmp_path: Path) -> None:
    heard: list[str] = []
    database = Database(f"sqlite:///{tmp_path / 'x.db'}", publish=heard.extend)
    database.write(lambda uow: uow.connection.execute(text("create table t (x integer primary key)"))).result()
    database.write(lambda uow: insert(uow, 1)).result()
    with pytest.raises(Exception, match="UNIQUE"):
        database.write(lambda uow: insert(uow, 1)).result()
    database.close()
    assert heard == ["inserted 1"]


def test_a_cancelled_request_is_still_done_and_the_writer_continues(database: Database) -> None:
    gate = Event()

    async def ask_and_leave() -> None:
        asking = asyncio.ensure_future(database.awrite(lambda uow: insert(uow, 2)))
        await asyncio.sleep(0)
        asking.cancel()
        gate.set()

    database.write(lambda uow: gate.wait(60))
    asyncio.run(ask_and_leave())
    database.write(lambda uow: insert(uow, 3)).result(timeout=60)
    assert held(database) == [2, 3]


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(StorageUnusable, match="is read-only"):
        database.read(lambda uow: insert(uow, 1))


def test_a_closed_database_finishes_queued_requests_and_refuses_new_ones(database: Database) -> None:
    futures = in_one_batch(database, *[lambda uow, x=x: insert(uow, x) for x in range(20)])
    database.close()
    assert [future.result() for future in futures] == list(range(20))
    with pytest.raises(StorageUnusable, match="shutting down"):
        database.write(lambda uow: insert(uow, 99)).result()


def test_a_full_disk_is_named_and_acknowledged_writes_stay(database: Database) -> None:
    database.write(lambda uow: insert(uow, 1)).result()
    n_pages = database.read(lambda uow: uow.connection.execute(text("pragma page_count")).scalar_one())
    database.write(lambda uow: uow.connection.execute(text(f"pragma max_page_count={n_pages}"))).result()
    with pytest.raises(StorageUnusable, match="disk of the database is full"):
        database.write(lambda uow: [insert(uow, x) for x in range(2, 5000)]).result()
    assert held(database) == [1]
    database.write(lambda uow: uow.connection.execute(text("pragma max_page_count=100000"))).result()
    database.write(lambda uow: insert(uow, 2)).result()
    assert held(database) == [1, 2]


def test_a_corrupt_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"this is no database, however long one reads it" * 100)
    with pytest.raises(StorageUnusable, match="not a SQLite database"):
        Database(f"sqlite:///{path}")


def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    database = Database(f"sqlite:///{path}")
    migrations.upgrade(database.engine)
    database.write(lambda uow: uow.connection.execute(text("update alembic_version set version_num='9999'"))).result()
    with pytest.raises(StorageUnusable, match=r"newer version of Tunefleet \(revision 9999\)"):
        migrations.upgrade(database.engine)
    database.close()


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    sqlite3.connect(path).execute("create table trials (x)")
    database = Database(f"sqlite:///{path}")
    with pytest.raises(StorageUnusable, match="another program"):
        migrations.upgrade(database.engine)
    database.close()


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    first = migrations.upgrade(database.engine)
    assert (first.before, migrations.upgrade(database.engine).before) == (None, first.after)
    database.close()
