"""A group-commit writer: one thread and one connection that commit all waiting requests in one transaction.

All waiting requests share one sync to disk. A request is answered after its commit, so an acknowledged request is
committed. Requests of one kind are served in one call, with statements for all of them. When several kinds share a
transaction, each kind has its own savepoint. A request that fails undoes only its own work.
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
"""Serves requests of one kind. A result that is an exception is raised to its caller, and has changed nothing."""

# Maximum of requests in one transaction: more than wait in practice, few enough that a flood does not delay answers.
MAX_BATCH = 256

# Clients that were just answered ask again within a moment. After a batch of at least MIN_BATCH_TO_GATHER, the writer
# waits GATHER_S for them. Otherwise they split into two alternating halves, and a transaction for half of them costs
# nearly as much as one for all.
MIN_BATCH_TO_GATHER = 4
GATHER_S = 0.002

# A database that restarts or fails over is usually back after these pauses; otherwise the caller gets the error.
RETRY_AFTER_S = (0.05, 0.2, 0.5)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class WriteRequest:
    """One request in the queue."""

    work: Work
    item: Any
    idempotent: bool
    """True if the writer may run it again after a commit with an unknown outcome."""
    future: Future[Any] | asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop | None = None
    """The event loop that owns the future; None for a future of a thread."""
    queued: Queued = field(default_factory=Queued)
    outcome: Any = None
    redo: bool = False
    """The request failed together with others and is tried again on its own."""


def resolve(requests: Sequence[WriteRequest]) -> None:
    """Resolve the futures with the outcomes, and wake each event loop once because waking costs most."""
    loops: dict[asyncio.AbstractEventLoop | None, list[WriteRequest]] = {}
    for request in requests:
        loops.setdefault(request.loop, []).append(request)
    for loop, asked in loops.items():
        if loop is None:
            _settle(asked)
        else:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                loop.call_soon_threadsafe(_settle, asked)


def _settle(requests: Sequence[WriteRequest]) -> None:
    for request in requests:
        if request.future.done():  # the waiting task was cancelled
            continue
        if isinstance(request.outcome, BaseException):
            request.future.set_exception(request.outcome)
        else:
            request.future.set_result(request.outcome)


@dataclass(frozen=True, slots=True)
class TransactionHooks:
    """Functions of the database that the writer calls around its requests."""

    now: Callable[[Connection], datetime]
    """Returns the time of a transaction."""
    begin: Callable[[Connection, datetime], UnitOfWork]
    """Returns a unit of work for each group of requests in a transaction."""
    finish: Callable[[Connection, Sequence[UnitOfWork]], None]
    """Runs the last statements of a transaction."""
    publish: Callable[[Iterable[str]], None]
    """Receives the topics of each committed transaction, on the writer's thread."""
    before_commit: Callable[[], None]
    after_commit: Callable[[], None]


class _CommitUnknown(Exception):
    """The connection was lost during the commit."""


class GroupCommitWriter:
    """A queue of requests and the thread that serves them.

    Args:
        name: the name of the thread.
        engine: the source of the one connection in use.
        hooks: the functions to call around the requests.
        observer: receives the duration of each transaction.
    """

    def __init__(self, name: str, engine: Engine, *, hooks: TransactionHooks, observer: Observer) -> None:
        self._engine = engine
        self._hooks = hooks
        self._observer = observer
        self._requests: queue.SimpleQueue[WriteRequest | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, request: WriteRequest) -> None:
        """Queue a request; its future resolves after the commit."""
        self._requests.put(request)

    def close(self) -> None:
        """Finish the queued requests and end the thread."""
        self._closing.set()
        self._requests.put(None)
        self._thread.join()

    def _run(self) -> None:
        n_served = 0
        while (first := self._requests.get()) is not None:
            if n_served >= MIN_BATCH_TO_GATHER:
                self._closing.wait(GATHER_S)
            batch, last = self._gather(first)
            self._serve(batch)
            n_served = len(batch)
            if last:
                return

    def _gather(self, first: WriteRequest) -> tuple[list[WriteRequest], bool]:
        batch = [first]
        while len(batch) < MAX_BATCH:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                break
            if request is None:
                return batch, True
            batch.append(request)
        return batch, False

    def _serve(self, batch: list[WriteRequest]) -> None:
        """Commit the batch together; requests that fail together are committed one by one."""
        self._commit(batch)
        alone = [request for request in batch if request.redo]
        resolve([request for request in batch if not request.redo])
        for request in alone:
            self._commit([request])
            resolve([request])

    def _commit(self, requests: list[WriteRequest]) -> None:
        """Set the outcome of each request, or mark it to be retried alone."""
        pauses = iter(RETRY_AFTER_S)
        while requests:
            try:
                self._transaction(requests)
                return
            except _CommitUnknown as unknown:
                error = unknown.__cause__
                assert isinstance(error, DBAPIError)
                requests = _only_idempotent(requests)
            except DBAPIError as failed:
                error = failed
            except Exception as bug:
                log.exception("a transaction failed because of a bug, not because of the database")
                _fail(requests, bug)
                return
            fault = fault_of(error)
            pause_s = next(pauses, None) if fault is not Fault.OWN else None
            if pause_s is None:
                _give_up(requests, error, fault)
                return
            self._observer.retried("write", fault.value)
            log.warning("the database failed, trying again: %s", storage_problem(error))
            time.sleep(pause_s * random.uniform(0.5, 1.5))

    def _transaction(self, requests: Sequence[WriteRequest]) -> None:
        began = time.perf_counter()
        units: list[UnitOfWork] = []
        committed = False
        try:
            with self._engine.connect() as connection:
                transaction = connection.begin()
                units = self._prepare(connection, requests)
                if units:
                    _end(connection, transaction)
                    committed = True
                else:
                    transaction.rollback()
        finally:
            self._observe(began, requests, units if committed else [], committed=committed)
        if committed:
            self._hooks.after_commit()
        if topics := {topic for uow in units for topic in uow.topics}:
            self._hooks.publish(topics)

    def _prepare(self, connection: Connection, requests: Sequence[WriteRequest]) -> list[UnitOfWork]:
        """Run all statements before the commit; return the units of work of the groups that succeeded."""
        try:
            units = self._work(connection, requests)
            if units:
                self._hooks.finish(connection, units)
                self._hooks.before_commit()
        except BaseException:
            # After "disk full" SQLite has already rolled back, and a lost Postgres cannot roll back. Only a new
            # connection is in a known state.
            connection.invalidate()
            raise
        return units

    def _observe(
        self, began: float, requests: Sequence[WriteRequest], units: Sequence[UnitOfWork], *, committed: bool
    ) -> None:
        self._observer.ended(
            Transaction(
                kind="write",
                began_at=began,
                ended_at=time.perf_counter(),
                committed=committed,
                requests=[request.queued for request in requests],
                measurements=[measurement for uow in units for measurement in uow.measurements],
            )
        )

    def _work(self, connection: Connection, requests: Sequence[WriteRequest]) -> list[UnitOfWork]:
        """Serve the requests kind by kind; return the units of work of the groups that succeeded."""
        groups: dict[Work, list[WriteRequest]] = {}
        for request in requests:
            groups.setdefault(request.work, []).append(request)
        now = self._hooks.now(connection)
        nested = len(groups) > 1
        done: list[UnitOfWork] = []
        for group in groups.values():
            uow = self._hooks.begin(connection, now)
            if _attempt(uow, group, nested=nested):
                done.append(uow)
        return done


def _attempt(uow: UnitOfWork, group: Sequence[WriteRequest], *, nested: bool) -> bool:
    """Serve a group, in a savepoint unless it is alone in the transaction; return False if its own error undid it.

    An error of the database aborts the whole transaction and is raised.
    """
    savepoint = uow.connection.begin_nested() if nested else None
    try:
        outcomes = group[0].work(uow, [request.item for request in group])
    except DBAPIError as error:
        if not isinstance(error, IntegrityError):
            raise
        failure: Exception = error
    except Exception as error:
        failure = error
    else:
        if savepoint is not None:
            savepoint.commit()
        for request, outcome in zip(group, outcomes, strict=True):
            request.outcome, request.redo = outcome, False
        return True
    if savepoint is not None:
        savepoint.rollback()
    for request in group:
        # A broken constraint may come from a race with another master: the retry reads what that master wrote.
        request.redo = not request.redo and (len(group) > 1 or isinstance(failure, IntegrityError))
        request.outcome = failure
    return False


def _end(connection: Connection, transaction: RootTransaction) -> None:
    try:
        transaction.commit()
    except DBAPIError as error:
        connection.invalidate()
        if fault_of(error) is Fault.UNREACHABLE:
            raise _CommitUnknown from error
        raise


def _only_idempotent(requests: list[WriteRequest]) -> list[WriteRequest]:
    """Return the requests that may be tried again; fail the others, because their outcome is unknown."""
    hint = "Check whether the change was made before you repeat it."
    unknown = StorageUnusable("the connection to the database was lost during the commit.", hint=hint)
    _fail([request for request in requests if not request.idempotent], unknown)
    return [request for request in requests if request.idempotent]


def _give_up(requests: Sequence[WriteRequest], error: DBAPIError, fault: Fault) -> None:
    if fault is Fault.UNREACHABLE or len(requests) == 1:
        _fail(requests, storage_problem(error))
        return
    for request in requests:  # one bad request must not fail the others
        request.redo = True


def _fail(requests: Sequence[WriteRequest], error: BaseException) -> None:
    for request in requests:
        request.outcome, request.redo = error, False
