"""The folder of a worker: one agent at a time, its attempts, its caches and a sign of life."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from tunefleet.errors import TunefleetError


class FolderTaken(TunefleetError):
    """Another worker runs in this folder, or it cannot be used at all."""

    code = "folder_taken"


class WorkerFolder:
    """A worker's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.attempts = folder / "attempts"
        self.bundles = folder / "bundles"
        self.checkpoints = folder / "checkpoints"
        self._beat = folder / "beat"
        self._lock = folder / "lock"

    def enter(self) -> None:
        """Make the folder, and keep every other agent out of it until this process ends.

        Raises:
            FolderTaken: another agent is in it, or it cannot be written to.
        """
        try:
            self.attempts.mkdir(parents=True, exist_ok=True)
            file = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderTaken(
                f"the worker's folder {self.folder} cannot be used: {error.strerror}.", hint="Choose another: --folder."
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(file, 20, 0).decode(errors="replace")
            raise FolderTaken(
                f"another worker runs in {self.folder} (process {owner}).",
                hint="Give this one another --name or --folder.",
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)

    def note_beat(self) -> None:
        """The master has just answered a heartbeat; a full disk costs the note, not the beat."""
        with contextlib.suppress(OSError):
            self._beat.touch()

    def last_beat_s(self) -> float | None:
        """How long ago the master last answered, None when it never did."""
        try:
            return max(0.0, time.time() - self._beat.stat().st_mtime)
        except FileNotFoundError:
            return None
