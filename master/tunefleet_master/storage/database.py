"""The database: writes that wait share transactions; reads run in parallel.

SQLite lets one connection write at a time, so all writes queue for one writer. On Postgres, requests of workers have
their own writer, so that a slow request of a user does not delay them. A request is answered after its commit, so an
acknowledged request is committed. Reads use their own connections and see the last commit.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from tunefleet.errors import StorageUnusable
from tunefleet.failpoints import failpoint
from tunefleet_master.storage import events
from tunefleet_master.storage.engine import backend_of, make_engine, warn_of_known_bugs
from tunefleet_master.storage.faults import Fault, fault_of, translated
from tunefleet_master.storage.group_commit import GroupCommitWriter, TransactionHooks, Work, WriteRequest, resolve
from tunefleet_master.storage.notifications import Listener, notify
from tunefleet_master.storage.observer import NullObserver, Observer, Queued, Transaction
from tunefleet_master.storage.unit_of_work import UnitOfWork

T = TypeVar("T")
Q = TypeVar("Q")
Clock = Callable[[], datetime]

N_READERS = 4

Together = Callable[[UnitOfWork, Sequence[Q]], Sequence[T | Exception]]
"""Serves many requests of one kind at once. A result that is an exception is raised to its caller."""


def utc_now() -> datetime:
    """The machine's clock; aware, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Timing:
    """The duration of a lease without a heartbeat, and the interval of heartbeats; seconds."""

    lease_s: float = 60.0
    heartbeat_s: float = 10.0


class Database:
    """One database, with a few threads that write and a few that read.

    Args:
        url: an SQLAlchemy URL such as `sqlite:////var/lib/tunefleet/tunefleet.db` or
            `postgresql://user@host/tunefleet`.
        timing: the times of leases.
        clock: the source of all times; None: this machine's clock on SQLite, and the database's clock on Postgres,
            so that several masters agree.
        publish: receives the topics of each committed transaction, from any thread, also those of other masters.
        observer: receives durations and counts.

    Raises StorageUnusable when the database cannot be opened.
    """

    def __init__(
        self,
        url: str,
        *,
        timing: Timing | None = None,
        clock: Clock | None = None,
        publish: Callable[[Iterable[str]], None] = lambda topics: None,
        observer: Observer | None = None,
    ) -> None:
        self.timing = timing or Timing()
        self._clock = clock
        self._observer = observer or NullObserver()
        self._name = uuid.uuid4().hex[:16]
        self.engine: Engine = make_engine(url, read_only=False)
        self._reading: Engine = make_engine(url, read_only=True, pool_size=N_READERS)
        self.backend = backend_of(self.engine)
        with translated(), self.engine.connect() as connection:
            connection.rollback()  # beginning a transaction shows whether this is a database that can be written
        warn_of_known_bugs(self.engine)
        hooks = TransactionHooks(
            now=self._now,
            begin=self._unit_of_work,
            finish=self._finish,
            publish=publish,
            before_commit=partial(failpoint, "master.before_commit"),
            after_commit=partial(failpoint, "master.after_commit"),
        )
        self._worker_writer = GroupCommitWriter("writer", self.engine, hooks=hooks, observer=self._observer)
        self._user_writer = self._worker_writer
        self._listener: Listener | None = None
        if self.backend == "postgresql":
            self._user_writer = GroupCommitWriter("second-writer", self.engine, hooks=hooks, observer=self._observer)
            self._listener = Listener(self.engine.url, name=self._name, publish=publish)
        self._readers = ThreadPoolExecutor(N_READERS, thread_name_prefix="reader")
        self._closed = threading.Lock()

    def write(self, work: Callable[[UnitOfWork], T], *, idempotent: bool = True) -> Future[T]:
        """Queue a request; the future resolves after the commit.

        An exception of `work` undoes what `work` did, and nothing else. `work` may run more than once, because its
        transaction can fail for reasons outside `work`. So it must act only through the unit of work.

        Args:
            work: the request.
            idempotent: committing it twice has the same effect as committing it once. If the connection is lost during
                the commit, a request that is not idempotent fails with an error that says so.
        """
        return self._submit(self._user_writer, lambda uow, _: [work(uow)], None, idempotent=idempotent)

    def write_together(self, work: Together[Q, T], item: Q) -> Future[T]:
        """Queue a request that is served together with all waiting requests of its kind; it must be idempotent."""
        return self._submit(self._worker_writer, work, item)

    async def awrite(self, work: Callable[[UnitOfWork], T], *, idempotent: bool = True) -> T:
        """Await `write`; cancelling the waiting task does not stop the work."""
        done = await self._submit_async(self._user_writer, lambda uow, _: [work(uow)], None, idempotent=idempotent)
        return cast("T", done)

    async def awrite_together(self, work: Together[Q, T], item: Q) -> T:
        """Await `write_together`; cancelling the waiting task does not stop the work."""
        return cast("T", await self._submit_async(self._worker_writer, work, item))

    def read(self, work: Callable[[UnitOfWork], T], queued: Queued | None = None) -> T:
        """Run `work` on this thread, on a connection that cannot write."""
        began = time.perf_counter()
        succeeded = False
        try:
            with translated():
                result = self._read(work)
            succeeded = True
            return result
        finally:
            asked = [queued or Queued(began)]
            ended = Transaction("read", began, time.perf_counter(), committed=succeeded, requests=asked)
            self._observer.ended(ended)

    async def aread(self, work: Callable[[UnitOfWork], T]) -> T:
        """Run `read` on a reader thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read, work, Queued())

    def close(self) -> None:
        """Finish the queued requests, refuse later ones and close the files. Safe to call twice."""
        if not self._closed.acquire(blocking=False):
            return
        for writer in {self._worker_writer, self._user_writer}:
            writer.close()
        if self._listener is not None:
            self._listener.close()
        self._readers.shutdown()
        self._reading.dispose()
        self.engine.dispose()

    def _submit(self, writer: GroupCommitWriter, work: Work, item: Any, *, idempotent: bool = True) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._put(writer, WriteRequest(work, item, idempotent, future))
        return future

    async def _submit_async(self, writer: GroupCommitWriter, work: Work, item: Any, *, idempotent: bool = True) -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._put(writer, WriteRequest(work, item, idempotent, future, loop))
        return await future

    def _put(self, writer: GroupCommitWriter, request: WriteRequest) -> None:
        if self._closed.locked():
            request.outcome = StorageUnusable("the master is shutting down.", hint="Try again in a moment.")
            resolve([request])
        else:
            writer.put(request)

    def _read(self, work: Callable[[UnitOfWork], T]) -> T:
        try:
            return self._read_once(work)
        except DBAPIError as error:
            if fault_of(error) is Fault.OWN:
                raise
        self._observer.retried("read", "connection")
        return self._read_once(work)  # the pooled connections were lost; a new one shows whether the database is up

    def _read_once(self, work: Callable[[UnitOfWork], T]) -> T:
        with self._reading.connect() as connection:
            return work(self._unit_of_work(connection, self._now(connection)))

    def _unit_of_work(self, connection: Connection, now: datetime) -> UnitOfWork:
        return UnitOfWork(connection, now, self.timing.lease_s, self.timing.heartbeat_s)

    def _now(self, connection: Connection) -> datetime:
        if self._clock is not None:
            return self._clock()
        if self.backend == "sqlite":
            return utc_now()
        return datetime.fromtimestamp(connection.execute(_DATABASE_CLOCK).scalar_one(), UTC)

    def _finish(self, connection: Connection, units: Sequence[UnitOfWork]) -> None:
        """Write the events and notify the other masters."""
        events.add(connection, [event for uow in units for event in uow.events])
        if self.backend == "postgresql":
            notify(connection, self._name, {topic for uow in units for topic in uow.topics})


_DATABASE_CLOCK = text("SELECT extract(epoch FROM clock_timestamp())::double precision")
