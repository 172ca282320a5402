"""The folder of a worker: one agent at a time, its attempts, its caches and a sign of life."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from tunefleet.errors import TunefleetError
from tunefleet.files import lock


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
            lock.take(self._lock)
        except OSError as error:
            raise FolderTaken(
                f"the worker's folder {self.folder} cannot be used: {error.strerror}.", hint="Choose another: --folder."
            ) from error
        except lock.LockHeld as held:
            raise FolderTaken(
                f"another worker runs in {self.folder} (process {held.owner}).",
                hint="Give this one another --name or --folder.",
            ) from held

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
