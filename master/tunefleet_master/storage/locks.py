"""Postgres advisory locks for work that only one master may do at a time. On SQLite there is only one master."""

from __future__ import annotations

import logging
import threading

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from tunefleet_master.storage.engine import backend_of
from tunefleet_master.storage.faults import translated

# The keys of Postgres' advisory locks: one number for the whole database, or this class with a study's id.
MIGRATIONS = 7_203_110_001
EVENTS = 7_203_110_002
STUDIES = 720_311

log = logging.getLogger(__name__)

_LOCK = text("SELECT pg_try_advisory_lock(:kind, :study_id)")
_UNLOCK = text("SELECT pg_advisory_unlock(:kind, :study_id)")


class StudyLocks:
    """The locks on the studies that this master plans. At most one master holds a study's lock.

    The locks belong to a separate session, so Postgres releases them when this process dies. A master is not told
    when that session breaks. So work under a lock must be safe to do twice.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._held: set[int] = set()
        self._mutex = threading.Lock()
        self._closed = False

    def hold(self, wanted: set[int]) -> set[int]:
        """Take and release locks so that only `wanted` ones are held; return those that are held now.

        Raises:
            StorageUnusable: the database cannot be reached, and no lock is held.
        """
        if backend_of(self._engine) == "sqlite" or not (wanted or self._held):
            return wanted
        with self._mutex, translated():
            if self._closed:
                return set()
            try:
                return set(self._hold(self._session(), wanted))
            except DBAPIError:
                self._forget()
                raise

    def close(self) -> None:
        """Release all locks; later calls of `hold` take none."""
        with self._mutex:
            self._closed = True
            self._forget()

    def _hold(self, session: Connection, wanted: set[int]) -> set[int]:
        for study_id in self._held - wanted:
            session.execute(_UNLOCK, {"kind": STUDIES, "study_id": study_id})
            self._held.discard(study_id)
        for study_id in sorted(wanted - self._held):
            if session.execute(_LOCK, {"kind": STUDIES, "study_id": study_id}).scalar_one():
                self._held.add(study_id)
        return self._held

    def _session(self) -> Connection:
        """A live connection outside any transaction."""
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection.exec_driver_sql("SELECT 1")
        return self._connection

    def _forget(self) -> None:
        self._held.clear()
        if self._connection is not None:
            self._connection.invalidate()  # the session ends, and its locks with it
            self._connection.close()
            self._connection = None
