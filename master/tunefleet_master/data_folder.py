"""The master's data folder, and the lock that keeps other masters off its database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunefleet.errors import StorageUnusable
from tunefleet.files import lock


def prepare(folder: Path) -> None:
    """Create the folder, readable by its owner only, and check that it is writable.

    Raises:
        StorageUnusable: it cannot be created or written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise StorageUnusable(
            f"cannot write to the data folder {folder}: {error.strerror}.",
            hint="Choose another one with --data, make this one writable, or free some space.",
        ) from error


@contextmanager
def locked(file: Path | None) -> Iterator[None]:
    """Hold a lock file inside the context, at most until this process ends; with None, lock nothing.

    Raises:
        StorageUnusable: another master holds it, or it cannot be opened.
    """
    if file is None:
        yield
        return
    try:
        descriptor = lock.take(file)
    except OSError as error:
        raise StorageUnusable(
            f"cannot open {file}: {error.strerror}.", hint="Check that the database's folder exists and is writable."
        ) from error
    except lock.LockHeld as held:
        raise StorageUnusable(
            f"another master (process {held.owner}) is using the database {file.with_suffix('')}.",
            hint="Stop that one, or choose another folder with --data.",
        ) from held
    try:
        yield
    finally:
        os.close(descriptor)
