"""A cache of checkpoints by hash, so that a trial which resumes on this worker need not download its own."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from tunefleet.client.artifacts import download
from tunefleet.client.transport import Transport
from tunefleet.protocol import Lease


class CheckpointCache:
    """A folder with the newest checkpoints; safe for several threads."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._keep = keep

    def put(self, file: Path, sha256: str) -> None:
        """Move an uploaded file into the cache, and delete the oldest files beyond the limit."""
        with contextlib.suppress(OSError):
            file.replace(self._folder / sha256)
            os.utime(self._folder / sha256)
            held = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in held[: -self._keep]:
                path.unlink(missing_ok=True)

    def fetch(self, lease: Lease, to: Path, *, transport: Transport) -> None:
        """Write the checkpoint that a lease resumes from, if any, to `to`: from the cache or the master."""
        if lease.resume is None:
            return
        own = self._folder / lease.resume.sha256
        try:
            shutil.copyfile(own, to)
        except FileNotFoundError:
            of = lease.trial_id if lease.resume_from is None else lease.resume_from
            download(transport, lease.resume, to, trial_id=of)
