"""Checkpoints that went through this worker, by their hash: a trial that comes back here need not fetch its own."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from tunefleet.client.artifacts import download
from tunefleet.client.transport import Transport
from tunefleet.protocol import Lease


class CheckpointCache:
    """A folder with the newest few checkpoints; several threads may use it."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._keep = keep

    def put(self, file: Path, sha256: str) -> None:
        """Take over a file that was delivered; the oldest ones go."""
        with contextlib.suppress(OSError):
            file.replace(self._folder / sha256)
            os.utime(self._folder / sha256)
            held = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in held[: -self._keep]:
                path.unlink(missing_ok=True)

    def fetch(self, lease: Lease, to: Path, *, transport: Transport) -> None:
        """Put the checkpoint that a lease resumes from at `to`, from here or the master; nothing when it has none."""
        if lease.resume is None:
            return
        own = self._folder / lease.resume.sha256
        try:
            shutil.copyfile(own, to)
        except FileNotFoundError:
            of = lease.trial_id if lease.resume_from is None else lease.resume_from
            download(transport, lease.resume, to, trial_id=of)
