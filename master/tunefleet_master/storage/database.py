"""The database and its one writer.

SQLite lets one connection write at a time, and a write is safe when the disk says so. So all writes queue for one thread, which puts everything that waits
into one transaction, each request in a savepoint of its own, and pays for one sync to disk. A request is answered after its commit:
acknowledged is committed. Reads run beside it on connections of their own (WAL), and see the last commit.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
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

MAX_BATCH = 256  # requests in one transaction: far beyond what waits in practice, so that a flood cannot delay the first answer for long
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
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(N_READERS, thread_name_prefix="reader")
        self._closed = threading.Lock()
        self._writer = threading.Thread(target=self._run, name="writer", daemon=True)
        self._writer.start()

    def write(self, work: Callable[[UnitOfWork], T]) -> Future[T]:
        """Queue a request for the writer; the future resolves after the commit.

        An exception of `work` undoes what `work` did, and nothing else. `work` may run twice (when its transaction breaks for a reason that is not its own), so it must
        act through the unit of work only.
        """
        job: _Job[T] = _Job(work)
        if self._closed.locked():
            job.future.set_exception(
                StorageUnusable(
                    "the master is shutting down.", hint="Try again in a moment."
                )
            )
        else:
            self._jobs.put(job)
        return job.future

    async def awrite(self, work: Callable[[UnitOfWork], T]) -> T:
        """`write`, awaited; the work goes on when the waiting task is cancelled."""
        return await asyncio.wrap_future(self.write(work))

    def read(self, work: Callable[[UnitOfWork], T]) -> T:
        """Run `work` on a connection that cannot write, on this thread."""
        with self._reading.connect() as connection, _translated():
            return work(self._unit_of_work(connection))

    async def aread(self, work: Callable[[UnitOfWork], T]) -> T:
        """`read` on a reading thread."""
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, self.read, work
        )

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
        return UnitOfWork(
            connection, self._clock(), self.timing.lease_s, self.timing.heartbeat_s
        )

    def _run(self) -> None:
        with self.engine.connect() as connection:
            while (first := self._jobs.get()) is not None:
                batch, last = self._gather(first)
                self._commit(connection, batch)
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

    def _commit(self, connection: Connection, batch: list[_Job[Any]]) -> None:
        try:
            signals = self._transaction(connection, batch)
        except DBAPIError as error:
            if len(batch) == 1:
                batch[0].error = storage_problem(error)
                batch[0].settle()
            else:  # one bad request must not take the others with it
                for job in batch:
                    self._commit(connection, [job])
            return
        for job in batch:
            job.settle()
        if signals:
            self._publish(signals)

    def _transaction(self, connection: Connection, batch: list[_Job[Any]]) -> set[str]:
        signals: set[str] = set()
        with connection.begin():
            for job in batch:
                job.result = job.error = None
                uow = self._unit_of_work(connection)
                try:
                    with connection.begin_nested():
                        job.result = job.work(uow)
                    signals |= uow.signals
                except IntegrityError as error:
                    job.error = error
                except DBAPIError:
                    raise
                except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
                    job.error = error
        return signals


class _translated:
    """Turn the driver's errors into ours."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: object
    ) -> None:
        if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
            raise storage_problem(error) from error
