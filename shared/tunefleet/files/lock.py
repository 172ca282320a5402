"""Lock files: at most one process on a machine holds one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class LockHeld(Exception):
    """Another process holds the lock; `owner` is its process id, or "unknown"."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"process {owner} holds the lock")
        self.owner = owner


def take(file: Path) -> int:
    """Lock a file, write this process's id into it, and return its descriptor.

    The lock lasts until the descriptor is closed or the process ends.

    Raises:
        LockHeld: another process holds the lock.
        OSError: the file cannot be opened or written.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise LockHeld(os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown") from error
