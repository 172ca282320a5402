"""What acknowledged means: the commit is on the disk, and not only on its way there (I5)."""

from __future__ import annotations

from typing import Any

from tunefleet_master.storage.unit_of_work import UnitOfWork


def asked(uow: UnitOfWork, question: str) -> Any:
    return uow.connection.exec_driver_sql(question).scalar_one()


def test_the_connections_that_write_wait_for_the_disk(master: Any) -> None:
    database = master.database
    if database.backend == "sqlite":
        settings = {"PRAGMA journal_mode": "wal", "PRAGMA synchronous": 2}
    else:
        settings = {"SHOW synchronous_commit": "on"}

    def together(uow: UnitOfWork, items: Any) -> Any:
        return [{question: asked(uow, question) for question in settings} for _ in items]

    of_people = master.call(lambda uow: {question: asked(uow, question) for question in settings})
    of_workers = master.ask(together, None)

    assert (of_people, of_workers) == (settings, settings)
