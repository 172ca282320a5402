"""`tunefleet-master doctor`: facts of this installation, and checks of its stored data."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tunefleet import __version__
from tunefleet.cli import output
from tunefleet.client.journal import entries
from tunefleet.errors import NotFound
from tunefleet_master.services.audit.acknowledged_writes import AcknowledgedWrites
from tunefleet_master.services.audit.doctor import Check, verify
from tunefleet_master.settings import Settings
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.engine import sqlite_module

MAX_SHOWN = 20  # violations per promise; a broken database can have as many as rows


def facts(settings: Settings) -> dict[str, str]:
    """Facts of the installation that a support request needs."""
    return {
        "tunefleet": __version__,
        "python": platform.python_version(),
        "sqlite": str(sqlite_module().sqlite_version),
        "data": str(settings.data),
        "database": settings.database_url.partition("@")[2] or settings.database_url,
    }


def checks(settings: Settings, journals: Sequence[Path]) -> list[Check]:
    """Check the stored data; a master may run meanwhile.

    Raises:
        NotFound: there is no database. InvalidInput: a journal is invalid. StorageUnusable: the database is unreadable.
    """
    acknowledged = AcknowledgedWrites()
    for journal in journals:
        acknowledged.add(entries(journal))
    with opened(settings) as database:
        return database.read(lambda uow: verify(uow, BlobStore(settings.data / "artifacts"), acknowledged=acknowledged))


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """Open an existing database for reading, while a master may run; raises NotFound, StorageUnusable."""
    lock = settings.lock_file
    if not settings.data.is_dir() or (lock is not None and not lock.with_suffix("").exists()):
        raise NotFound(
            f"there is no database {settings.database_url} with files in {settings.data}.",
            hint="Give --data and --database as for the master.",
        )
    database = Database(settings.database_url)
    try:
        yield database
    finally:
        database.close()


def show(found: Sequence[Check], *, as_json: bool) -> bool:
    """Print the checks; return True if none has a violation."""
    n_violations = sum(len(check.violations) for check in found)
    if as_json:
        output.print_json({"violations": n_violations, "checks": [_shown(check) for check in found]})
        return n_violations == 0
    rows = [[check.invariant, check.promise, check.n_checked, len(check.violations)] for check in found]
    output.console().print(output.table(["", "promise", "checked", "violations"], rows))
    for check in found:
        for violation in check.violations[:MAX_SHOWN]:
            output.print_message(f"{check.invariant}: {violation}")
    return n_violations == 0


def _shown(check: Check) -> dict[str, object]:
    return {**asdict(check), "violations": list(check.violations[:MAX_SHOWN]), "n_violations": len(check.violations)}
