"""The calls of the database to its observer, and the metrics that follow from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from threading import Event

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tunefleet_master.prometheus import PrometheusMetrics
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.observer import CompositeObserver, Kind, Measurement, Queued, Transaction
from tunefleet_master.storage.unit_of_work import UnitOfWork

ASKER: ContextVar[str] = ContextVar("ASKER", default="nobody")


class Notes:
    """An observer that records its calls."""

    def __init__(self) -> None:
        self.transactions: list[Transaction] = []
        self.retries: list[tuple[Kind, str]] = []

    def ended(self, transaction: Transaction) -> None:
        self.transactions.append(transaction)

    def retried(self, kind: Kind, reason: str) -> None:
        self.retries.append((kind, reason))

    @property
    def writes(self) -> list[Transaction]:
        return [each for each in self.transactions if each.kind == "write"]


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def database(tmp_path: Path, notes: Notes) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}", observer=notes)
    yield database
    database.close()


def expire(uow: UnitOfWork) -> None:
    uow.measure(Measurement.LEASE_EXPIRED)


def expire_and_fail(uow: UnitOfWork) -> None:
    expire(uow)
    raise ValueError("this one is undone")


def test_a_transaction_is_reported_with_its_requests_and_without_undone_measurements(
    database: Database, notes: Notes
) -> None:
    gate, busy = Event(), Event()

    def block(_: UnitOfWork) -> None:
        busy.set()
        gate.wait(60)

    first = database.write(block)
    busy.wait(60)
    futures = [database.write(work) for work in (expire, expire_and_fail, expire)]
    gate.set()
    errors = [future.exception() for future in [first, *futures]]
    database.close()

    assert [type(error) for error in errors] == [type(None), type(None), ValueError, type(None)]
    alone, shared = notes.writes[:2]
    assert (len(alone.requests), len(shared.requests)) == (1, 3)
    assert all(request.at <= shared.began_at <= shared.ended_at for request in shared.requests)
    told = [what for each in notes.writes for what, _ in each.measurements]
    assert told == [Measurement.LEASE_EXPIRED] * 2


def test_a_request_keeps_the_context_of_its_caller(database: Database, notes: Notes) -> None:
    ASKER.set("ada")
    database.write(lambda uow: None).result()
    database.read(lambda uow: None)
    database.close()

    assert {each.requests[0].context[ASKER] for each in notes.transactions} == {"ada"}


def test_a_failed_read_is_reported_as_not_committed(database: Database, notes: Notes) -> None:
    def fail(uow: UnitOfWork) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.read(fail)

    assert [(each.kind, each.committed) for each in notes.transactions] == [("read", False)]


def test_metrics_count_rollbacks_retries_and_measurements(notes: Notes) -> None:
    metrics = PrometheusMetrics(version="1")
    observer = CompositeObserver(metrics, notes)
    lag = ((Measurement.HEARTBEAT_LAG, 3.0),)
    observer.ended(Transaction("write", 10.0, 10.5, committed=True, requests=[Queued(at=9.0)], measurements=lag))
    observer.ended(Transaction("write", 10.0, 10.5, committed=False, requests=[Queued(at=9.0)] * 2))
    observer.retried("write", "serialization")

    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.labels.get("kind") != "read" and "le" not in sample.labels
    }

    assert found["tunefleet_database_transaction_seconds_sum"] == 1.0
    assert found["tunefleet_database_wait_seconds_count"] == found["tunefleet_database_batch_requests_sum"] == 3
    assert found["tunefleet_database_rollbacks_total"] == found["tunefleet_database_retries_total"] == 1
    assert found["tunefleet_heartbeat_lag_seconds_sum"] == 3.0
    assert notes.retries == [("write", "serialization")]
