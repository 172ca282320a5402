"""The folder of a worker: a lock for one agent, attempts, caches, and the time of the last heartbeat."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from tunefleet.errors import TunefleetError
from tunefleet.files import lock


class FolderTaken(TunefleetError):
    """Another worker runs in this folder, or the folder cannot be used."""

    code = "folder_taken"


class WorkerFolder:
    """A worker's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.attempts = folder / "attempts"
        self.bundles = folder / "bundles"
        self.checkpoints = folder / "checkpoints"
        self._heartbeat_file = folder / "beat"
        self._lock_file = folder / "lock"

    def lock(self) -> None:
        """Create the folder, and lock it until this process ends.

        Raises:
            FolderTaken: another agent has locked it, or it cannot be written to.
        """
        try:
            self.attempts.mkdir(parents=True, exist_ok=True)
            lock.take(self._lock_file)
        except OSError as error:
            raise FolderTaken(
                f"the worker's folder {self.folder} cannot be used: {error.strerror}.", hint="Choose another: --folder."
            ) from error
        except lock.LockHeld as held:
            raise FolderTaken(
                f"another worker runs in {self.folder} (process {held.owner}).",
                hint="Give this one another --name or --folder.",
            ) from held

    def record_heartbeat(self) -> None:
        """Record that the master has answered a heartbeat; a full disk is ignored."""
        with contextlib.suppress(OSError):
            self._heartbeat_file.touch()

    def heartbeat_age_s(self) -> float | None:
        """Return the time since the master last answered; None when it never did."""
        try:
            return max(0.0, time.time() - self._heartbeat_file.stat().st_mtime)
        except FileNotFoundError:
            return None
