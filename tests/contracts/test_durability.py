"""An acknowledged write is on the disk (I5)."""

from __future__ import annotations

from concurrent.futures import Future
from threading import Event
from typing import Any

from sqlalchemy import event

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


def test_no_request_is_answered_before_the_commit(master: Any) -> None:
    asked_for: list[Future[Any]] = []
    all_asked = Event()
    answered_early: list[bool] = []

    def committing(_: object) -> None:
        all_asked.wait(60)
        answered_early.extend(future.done() for future in asked_for)

    event.listen(master.database.engine, "commit", committing)
    asked_for.append(master.database.write(lambda uow: asked(uow, "SELECT 1")))
    asked_for.append(master.database.write_together(lambda uow, items: [asked(uow, "SELECT 2") for _ in items], None))
    all_asked.set()

    assert [future.result(timeout=60) for future in asked_for] == [1, 2]
    assert answered_early[:2] == [False, False]  # at the first commit; later ones see the first one's answer
