"""The folder that holds what the master keeps, and the lock that keeps other masters off its database."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunefleet.errors import StorageUnusable


def prepare(folder: Path) -> None:
    """Create the folder, readable by its owner only, and make sure that it can be written.

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
    """Hold a lock file for as long as the context lasts, or this process lives; None: there is nothing to lock.

    Raises:
        StorageUnusable: another master has it, or it cannot be opened.
    """
    if file is None:
        yield
        return
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageUnusable(
            f"cannot open {file}: {error.strerror}.", hint="Check that the database's folder exists and may be written."
        ) from error
    try:
        _lock(handle, file)
        os.truncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, file: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(handle, 20, 0).decode(errors="replace") or "unknown"
        raise StorageUnusable(
            f"another master (process {owner}) is using the database {file.with_suffix('')}.",
            hint="Stop that one, or choose another folder with --data.",
        ) from error
