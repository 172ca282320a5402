"""The folder of an attempt on the worker, with fixed file names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from tunefleet.model import Model
from tunefleet.protocol import Lease

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"
LOG = "log.txt"
RESERVE_BYTES = 16_384  # more than the longest end record


class StoredLease(Model):
    """A lease and the URL of its master, stored for the next agent."""

    url: str
    lease: Lease


@dataclass(frozen=True, slots=True)
class AttemptFolder:
    """The folder of one attempt."""

    path: Path

    @classmethod
    def of(cls, parent: Path, lease: Lease) -> Self:
        """Return the folder of a lease's attempt, which need not exist."""
        return cls(parent / f"{lease.trial_id}-{lease.attempt}")

    @classmethod
    def create(cls, parent: Path, stored: StoredLease) -> Self:
        """Create an empty folder for a lease, and store the lease in it. Raises OSError, for example on a full disk."""
        folder = cls.of(parent, stored.lease)
        shutil.rmtree(folder.path, ignore_errors=True)
        folder.scratch.mkdir(parents=True)
        folder.files.mkdir()
        folder._reserve.write_bytes(bytes(RESERVE_BYTES))
        folder._lease.write_text(stored.model_dump_json(), encoding="utf-8")
        return folder

    @classmethod
    def all_in(cls, parent: Path) -> Iterator[Self]:
        """Yield the existing folders, sorted by name."""
        for path in sorted(parent.glob("*-*")):
            yield cls(path)

    @property
    def spool(self) -> Path:
        """The trial's records, as JSON lines."""
        return self.path / "spool.jsonl"

    @property
    def log(self) -> Path:
        """The trial's output."""
        return self.path / LOG

    @property
    def files(self) -> Path:
        """Files to upload to the master."""
        return self.path / "files"

    @property
    def scratch(self) -> Path:
        """The trial's own folder."""
        return self.path / "scratch"

    @property
    def resume(self) -> Path:
        """The checkpoint to resume from, if there is one."""
        return self.path / CHECKPOINT

    @property
    def life(self) -> Path:
        """Locked by the training process and its forks until all have ended; holds the process id."""
        return self.path / "life"

    @property
    def _reserve(self) -> Path:
        return self.path / "reserve"

    @property
    def _lease(self) -> Path:
        return self.path / "lease.json"

    def stored_lease(self) -> StoredLease | None:
        """Return the lease of the folder; None when the folder is incomplete."""
        try:
            return StoredLease.model_validate_json(self._lease.read_bytes())
        except (OSError, ValidationError):
            return None

    def free_reserve(self) -> None:
        """Free disk space for the last record, in case the trial has filled the disk."""
        self._reserve.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the folder; files that cannot be deleted stay."""
        shutil.rmtree(self.path, ignore_errors=True)
