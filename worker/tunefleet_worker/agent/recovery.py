"""What an earlier agent left in the folder when it was killed."""

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
from tunefleet_worker.spool import end_in

GRACE_S = 2.0  # a process dies by itself with its agent, within milliseconds
LAST_WAIT_S = 5.0


def leftovers(attempts: Path, url: str) -> Iterator[Recovered]:
    """The attempts that wait to be delivered to the master at `url`; their processes are gone when they come.

    Those for another master stay where they are; folders that were never whole are removed.
    """
    for place in AttemptFolder.all_in(attempts):
        stored = place.stored_lease()
        if stored is None:
            place.remove()
        elif stored.url == url:
            await_death(place.life)
            yield Recovered(stored.lease, end_in(place.spool))


def await_death(life: Path) -> None:
    """Return when no process holds the file; one that does not go by itself is killed with its group."""
    try:
        file = os.open(life, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not _locked_within(file, GRACE_S):
            # The lock is held, so the group that took it still lives, and its number means no other.
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
