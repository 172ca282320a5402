"""Recovery of the attempts that a killed agent left in the folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tunefleet_worker.agent.events import Recovered
from tunefleet_worker.attempt_folder import AttemptFolder
from tunefleet_worker.spool import read_end

GRACE_S = 2.0  # a process ends with its agent, within milliseconds
LAST_WAIT_S = 5.0


def recovered_attempts(attempts: Path, url: str) -> Iterator[Recovered]:
    """Yield the undelivered attempts of the master at `url`, each after its process has ended.

    Attempts of another master stay; incomplete folders are removed.
    """
    for folder in AttemptFolder.all_in(attempts):
        stored = folder.stored_lease()
        if stored is None:
            folder.remove()
        elif stored.url == url:
            await_exit(folder.life)
            yield Recovered(stored.lease, read_end(folder.spool))


def await_exit(life: Path) -> None:
    """Wait until no process locks the file; after GRACE_S kill the process group that does."""
    try:
        file = os.open(life, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not _locked_within(file, GRACE_S):
            # The lock is held, so the group still exists, and its id was not reused.
            with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
                os.killpg(int(os.pread(file, 20, 0)), signal.SIGKILL)
            _locked_within(file, LAST_WAIT_S)
    finally:
        os.close(file)


def _locked_within(file: int, limit_s: float) -> bool:
    give_up_at = time.monotonic() + limit_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(0.01)
        else:
            return True
