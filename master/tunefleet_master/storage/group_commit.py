"""A lane: one thread and one connection that commit in one transaction what waits together.

A sync to disk is paid once for all requests that wait, and a request is answered after its commit: acknowledged is
committed. Requests of one kind are served in one call, with statements for all of them; the others have a savepoint
each. A request that fails undoes itself and no other.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import DBAPIError, IntegrityError

from tunefleet.errors import StorageUnusable
from tunefleet_master.storage.faults import Fault, fault_of, storage_problem
from tunefleet_master.storage.observer import Observer, Queued, Transaction
from tunefleet_master.storage.unit_of_work import UnitOfWork

Work = Callable[[UnitOfWork, Sequence[Any]], Sequence[Any]]
"""Serves requests of one kind; an answer that is an exception is raised to its asker, and has changed nothing."""

# Requests in one transaction: more than waits in practice, few enough that a flood does not delay the first answer.
MAX_BATCH = 256

# Those who were just answered ask again within a moment, and a lane that serves many waits that long for them: else
# they come in two halves that take turns, and a transaction for a half costs nearly as much as one for all.
MANY = 4
GATHER_S = 0.002

# A database that restarts or fails over is back after this, or the asker is told and comes again.
RETRY_AFTER_S = (0.05, 0.2, 0.5)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Job:
    """One request that waits for its turn."""

    work: Work
    item: Any
    repeatable: bool
    """Doing it twice is the same as doing it once, so that it may be tried again after a commit of unknown outcome."""
    future: Future[Any] | asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop | None = None
    """The event loop that the future belongs to; None: it is one of threads."""
    queued: Queued = field(default_factory=Queued)
    outcome: Any = None
    redo: bool = False
    """It failed beside others, and is tried again on its own."""


def answer(jobs: Sequence[Job]) -> None:
    """Tell the askers the outcomes. Each event loop is woken once for all, which costs more than the telling."""
    loops: dict[asyncio.AbstractEventLoop | None, list[Job]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, asked in loops.items():
        if loop is None:
            _settle(asked)
        else:
            with suppress(RuntimeError):  # the loop has closed, and nobody waits any more
                loop.call_soon_threadsafe(_settle, asked)


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        if job.future.done():  # whoever waited has gone away
            continue
        if isinstance(job.outcome, BaseException):
            job.future.set_exception(job.outcome)
        else:
            job.future.set_result(job.outcome)


@dataclass(frozen=True, slots=True)
class TransactionHooks:
    """What a lane does around its requests; the database's part."""

    now: Callable[[Connection], datetime]
    """The time of a transaction."""
    begin: Callable[[Connection, datetime], UnitOfWork]
    """A unit of work for each group of requests of a transaction."""
    finish: Callable[[Connection, Sequence[UnitOfWork]], None]
    """The last statements of a transaction."""
    publish: Callable[[Iterable[str]], None]
    """Is given the topics of each committed transaction, on the lane's thread."""
    before_commit: Callable[[], None]
    after_commit: Callable[[], None]


class _CommitUnknown(Exception):
    """The connection was lost while the commit was on its way."""


class GroupCommitWriter:
    """A queue of requests and the thread that serves them.

    Args:
        name: of the thread.
        engine: gives the one connection that is used at a time.
        steps: what the database does around the requests.
        observer: is told how long things take.
    """

    def __init__(self, name: str, engine: Engine, *, steps: TransactionHooks, observer: Observer) -> None:
        self._engine = engine
        self._steps = steps
        self._observer = observer
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Queue a request; its future resolves after the commit."""
        self._jobs.put(job)

    def close(self) -> None:
        """Finish what is queued, and end."""
        self._closing.set()
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        n_served = 0
        while (first := self._jobs.get()) is not None:
            if n_served >= MANY:
                self._closing.wait(GATHER_S)
            batch, last = self._gather(first)
            self._serve(batch)
            n_served = len(batch)
            if last:
                return

    def _gather(self, first: Job) -> tuple[list[Job], bool]:
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

    def _serve(self, batch: list[Job]) -> None:
        """Commit the batch together; what does not go together goes alone."""
        self._commit(batch)
        alone = [job for job in batch if job.redo]
        answer([job for job in batch if not job.redo])
        for job in alone:
            self._commit([job])
            answer([job])

    def _commit(self, jobs: list[Job]) -> None:
        """Give each job its outcome, or mark it to be tried alone."""
        pauses = iter(RETRY_AFTER_S)
        while jobs:
            try:
                self._transaction(jobs)
                return
            except _CommitUnknown as unknown:
                error = unknown.__cause__
                assert isinstance(error, DBAPIError)
                jobs = _without_unrepeatable(jobs)
            except DBAPIError as failed:
                error = failed
            except Exception as bug:
                log.exception("a transaction failed for a reason that is not the database's")
                _fail(jobs, bug)
                return
            fault = fault_of(error)
            pause_s = next(pauses, None) if fault is not Fault.OWN else None
            if pause_s is None:
                _give_up(jobs, error, fault)
                return
            self._observer.retried("write", fault.value)
            log.warning("the database failed, trying again: %s", storage_problem(error))
            time.sleep(pause_s * random.uniform(0.5, 1.5))

    def _transaction(self, jobs: Sequence[Job]) -> None:
        began = time.perf_counter()
        units: list[UnitOfWork] = []
        committed = False
        try:
            with self._engine.connect() as connection:
                transaction = connection.begin()
                units = self._prepare(connection, jobs)
                if units:
                    _end(connection, transaction)
                    committed = True
                else:
                    transaction.rollback()
        finally:
            self._observe(began, jobs, units if committed else [], committed=committed)
        if committed:
            self._steps.after_commit()
        if topics := {topic for uow in units for topic in uow.topics}:
            self._steps.publish(topics)

    def _prepare(self, connection: Connection, jobs: Sequence[Job]) -> list[UnitOfWork]:
        """Do all that the transaction does before its commit; the units of work of what succeeded."""
        try:
            units = self._work(connection, jobs)
            if units:
                self._steps.finish(connection, units)
                self._steps.before_commit()
        except BaseException:
            # After a full disk SQLite has rolled back by itself, and a lost Postgres cannot: a new connection is the
            # clean way out.
            connection.invalidate()
            raise
        return units

    def _observe(self, began: float, jobs: Sequence[Job], units: Sequence[UnitOfWork], *, committed: bool) -> None:
        self._observer.ended(
            Transaction(
                kind="write",
                began_at=began,
                ended_at=time.perf_counter(),
                committed=committed,
                requests=[job.queued for job in jobs],
                measurements=[measurement for uow in units for measurement in uow.measurements],
            )
        )

    def _work(self, connection: Connection, jobs: Sequence[Job]) -> list[UnitOfWork]:
        """Serve the jobs kind by kind; the units of work of those that succeeded."""
        groups: dict[Work, list[Job]] = {}
        for job in jobs:
            groups.setdefault(job.work, []).append(job)
        now = self._steps.now(connection)
        nested = len(groups) > 1
        done: list[UnitOfWork] = []
        for group in groups.values():
            uow = self._steps.begin(connection, now)
            if _attempt(uow, group, nested=nested):
                done.append(uow)
        return done


def _attempt(uow: UnitOfWork, group: Sequence[Job], *, nested: bool) -> bool:
    """Serve a group, in a savepoint unless it has the transaction for itself; False when its own error undid it.

    An error of the database breaks the transaction.
    """
    savepoint = uow.connection.begin_nested() if nested else None
    try:
        outcomes = group[0].work(uow, [job.item for job in group])
    except DBAPIError as error:
        if not isinstance(error, IntegrityError):
            raise
        failure: Exception = error
    except Exception as error:
        failure = error
    else:
        if savepoint is not None:
            savepoint.commit()
        for job, outcome in zip(group, outcomes, strict=True):
            job.outcome, job.redo = outcome, False
        return True
    if savepoint is not None:
        savepoint.rollback()
    for job in group:
        # What broke a constraint may have raced with another master: a second look finds what that one wrote.
        job.redo = not job.redo and (len(group) > 1 or isinstance(failure, IntegrityError))
        job.outcome = failure
    return False


def _end(connection: Connection, transaction: RootTransaction) -> None:
    try:
        transaction.commit()
    except DBAPIError as error:
        connection.invalidate()
        if fault_of(error) is Fault.UNREACHABLE:
            raise _CommitUnknown from error
        raise


def _without_unrepeatable(jobs: list[Job]) -> list[Job]:
    """The jobs that may be tried again; the others are told that nobody knows."""
    hint = "Look whether it was done before you repeat it."
    unknown = StorageUnusable("the database was lost while this was being stored.", hint=hint)
    _fail([job for job in jobs if not job.repeatable], unknown)
    return [job for job in jobs if job.repeatable]


def _give_up(jobs: Sequence[Job], error: DBAPIError, fault: Fault) -> None:
    if fault is Fault.UNREACHABLE or len(jobs) == 1:
        _fail(jobs, storage_problem(error))
        return
    for job in jobs:  # one bad request must not take the others with it
        job.redo = True


def _fail(jobs: Sequence[Job], error: BaseException) -> None:
    for job in jobs:
        job.outcome, job.redo = error, False
