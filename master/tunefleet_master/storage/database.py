"""The database and its one writer.

SQLite lets one connection write at a time, and a write is safe when the disk says so. So all writes queue for one
thread, which puts everything that waits into one transaction, each request in a savepoint of its own, and pays for
one sync to disk. A request is answered after its commit: acknowledged is committed. Reads run beside it on
connections of their own (WAL), and see the last commit.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, IntegrityError

from tunefleet.errors import StorageUnusable
from tunefleet_master.storage.engine import make_engine, storage_problem
from tunefleet_master.storage.unit_of_work import UnitOfWork

T = TypeVar("T")
Clock = Callable[[], datetime]

# Requests in one transaction: more than waits in practice, few enough that a flood does not delay the first answer.
MAX_BATCH = 256
N_READERS = 4


def utc_now() -> datetime:
    """The machine's clock, aware, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Timing:
    """How long a lease lasts without a heartbeat, and how often workers are asked to beat; seconds."""

    lease_s: float = 60.0
    heartbeat_s: float = 10.0


@dataclass(slots=True)
class _Job(Generic[T]):
    work: Callable[[UnitOfWork], T]
    future: Future[T] = field(default_factory=Future)
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Database:
    """One SQLite file, with one writer thread and a few reading threads.

    Args:
        url: SQLAlchemy's, such as `sqlite:////var/lib/tunefleet/tunefleet.db`.
        timing: what leases are given with.
        clock: the master's clock; the only one that decides anything.
        publish: is given the topics of each committed transaction, on the writer's thread.

    Raises StorageUnusable when the file cannot be opened.
    """

    def __init__(
        self,
        url: str,
        *,
        timing: Timing | None = None,
        clock: Clock = utc_now,
        publish: Callable[[Iterable[str]], None] = lambda topics: None,
    ) -> None:
        self.timing = timing or Timing()
        self._clock = clock
        self._publish = publish
        self.engine: Engine = make_engine(url, read_only=False)
        self._reading: Engine = make_engine(url, read_only=True)
        with _translated(), self.engine.connect() as connection:
            connection.rollback()  # opening shows whether the file is a database, and can be written
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(N_READERS, thread_name_prefix="reader")
        self._closed = threading.Lock()
        self._writer = threading.Thread(target=self._run, name="writer", daemon=True)
        self._writer.start()

    def write(self, work: Callable[[UnitOfWork], T]) -> Future[T]:
        """Queue a request for the writer; the future resolves after the commit.

        An exception of `work` undoes what `work` did, and nothing else. `work` may run twice (when its transaction
        breaks for a reason that is not its own), so it must act through the unit of work only.
        """
        job: _Job[T] = _Job(work)
        # Whoever waits may go away and cancel; the writer's answer must still find its place.
        job.future.set_running_or_notify_cancel()
        if self._closed.locked():
            job.future.set_exception(StorageUnusable("the master is shutting down.", hint="Try again in a moment."))
        else:
            self._jobs.put(job)
        return job.future

    async def awrite(self, work: Callable[[UnitOfWork], T]) -> T:
        """`write`, awaited; the work goes on when the waiting task is cancelled."""
        return await asyncio.wrap_future(self.write(work))

    def read(self, work: Callable[[UnitOfWork], T]) -> T:
        """Run `work` on a connection that cannot write, on this thread."""
        with _translated(), self._reading.connect() as connection:
            return work(self._unit_of_work(connection))

    async def aread(self, work: Callable[[UnitOfWork], T]) -> T:
        """`read` on a reading thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read, work)

    def close(self) -> None:
        """Finish what is queued, refuse what comes after, close the files. Safe to call twice."""
        if not self._closed.acquire(blocking=False):
            return
        self._jobs.put(None)
        self._writer.join()
        self._readers.shutdown()
        self._reading.dispose()
        self.engine.dispose()

    def _unit_of_work(self, connection: Connection) -> UnitOfWork:
        return UnitOfWork(connection, self._clock(), self.timing.lease_s, self.timing.heartbeat_s)

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch, last = self._gather(first)
            self._commit(batch)
            if last:
                return

    def _gather(self, first: _Job[Any]) -> tuple[list[_Job[Any]], bool]:
        batch = [first]
        while len(batch) < MAX_BATCH:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

    def _commit(self, batch: list[_Job[Any]]) -> None:
        try:
            signals = self._transaction(batch)
        except DBAPIError as error:
            if len(batch) == 1:
                batch[0].error = storage_problem(error)
                batch[0].settle()
            else:  # one bad request must not take the others with it
                for job in batch:
                    self._commit([job])
            return
        for job in batch:
            job.settle()
        if signals:
            self._publish(signals)

    def _transaction(self, batch: list[_Job[Any]]) -> set[str]:
        signals: set[str] = set()
        with self.engine.connect() as connection:
            transaction = connection.begin()
            try:
                for job in batch:
                    signals |= self._attempt(connection, job)
                transaction.commit()
            except DBAPIError:
                # After a full disk SQLite has rolled back by itself, and another rollback would fail: a new
                # connection is the clean way out.
                connection.invalidate()
                raise
        return signals

    def _attempt(self, connection: Connection, job: _Job[Any]) -> set[str]:
        """Do the job in a savepoint.

        An error of its own undoes it, an error of the database breaks the whole transaction.
        """
        uow = self._unit_of_work(connection)
        savepoint = connection.begin_nested()
        try:
            job.result, job.error = job.work(uow), None
        except DBAPIError as error:
            if not isinstance(error, IntegrityError):
                raise
            job.error = error
        except Exception as error:
            job.error = error
        if job.error is None:
            savepoint.commit()
            return uow.signals
        savepoint.rollback()
        return set()


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise storage_problem(error) from error
