"""Where an attempt keeps its files on the worker: one folder each, with fixed names inside."""

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
RESERVE_BYTES = 16_384  # more than the longest end of an attempt


class StoredLease(Model):
    """A lease and the master that gave it, as an agent finds them again after it was killed."""

    url: str
    lease: Lease


@dataclass(frozen=True, slots=True)
class AttemptFolder:
    """The folder of one attempt."""

    path: Path

    @classmethod
    def of(cls, parent: Path, lease: Lease) -> Self:
        """Where the files of a lease's attempt are."""
        return cls(parent / f"{lease.trial_id}-{lease.attempt}")

    @classmethod
    def create(cls, parent: Path, stored: StoredLease) -> Self:
        """Make the folder of a lease anew, with the lease in it. Raises OSError, on a full disk for one."""
        folder = cls.of(parent, stored.lease)
        shutil.rmtree(folder.path, ignore_errors=True)
        folder.scratch.mkdir(parents=True)
        folder.files.mkdir()
        folder._reserve.write_bytes(bytes(RESERVE_BYTES))
        folder._lease.write_text(stored.model_dump_json(), encoding="utf-8")
        return folder

    @classmethod
    def all_in(cls, parent: Path) -> Iterator[Self]:
        """The folders that stand, oldest name first."""
        for path in sorted(parent.glob("*-*")):
            yield cls(path)

    @property
    def spool(self) -> Path:
        """What the trial told, as lines."""
        return self.path / "spool.jsonl"

    @property
    def log(self) -> Path:
        """What the trial printed."""
        return self.path / LOG

    @property
    def files(self) -> Path:
        """Files on their way to the master."""
        return self.path / "files"

    @property
    def scratch(self) -> Path:
        """The trial's own folder."""
        return self.path / "scratch"

    @property
    def resume(self) -> Path:
        """The checkpoint of an earlier attempt, when there is one."""
        return self.path / CHECKPOINT

    @property
    def life(self) -> Path:
        """Locked by the training process and all that it forks for as long as one of them lives; holds its process
        id.
        """
        return self.path / "life"

    @property
    def _reserve(self) -> Path:
        return self.path / "reserve"

    @property
    def _lease(self) -> Path:
        return self.path / "lease.json"

    def stored_lease(self) -> StoredLease | None:
        """The lease that the folder was made for; None when the folder is not whole."""
        try:
            return StoredLease.model_validate_json(self._lease.read_bytes())
        except (OSError, ValidationError):
            return None

    def free_reserve(self) -> None:
        """Make room for the last record, which must find its place on a disk that the trial has filled."""
        self._reserve.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete everything in it; a file that cannot be deleted stays."""
        shutil.rmtree(self.path, ignore_errors=True)
