"""Files of trials."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tunefleet.errors import NotFound
from tunefleet.names import TrialId
from tunefleet.protocol import ArtifactRef
from tunefleet_master.services.execution.transitions import lease_lost
from tunefleet_master.storage import artifacts as stored
from tunefleet_master.storage import trials
from tunefleet_master.storage.unit_of_work import UnitOfWork

GRACE = timedelta(days=1)
"""The minimum age of unreferenced content that is deleted: a bundle is uploaded some time before its study."""

MAX_COLLECTED = 200


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was uploaded completely."""

    attempt: int
    sha256: str
    size_bytes: int


def check_may_write(uow: UnitOfWork, trial_id: TrialId, attempt: int) -> None:
    """Raise LeaseLost unless the attempt is the trial's newest one, which may have ended already."""
    trial = trials.get(uow.connection, trial_id)
    if trial.attempt != attempt:
        raise lease_lost(trial, attempt)


def attach(uow: UnitOfWork, trial_id: TrialId, name: str, *, upload: Upload) -> ArtifactRef:
    """Attach a file to a trial; its content is in the blob store. Raises NotFound, LeaseLost."""
    check_may_write(uow, trial_id, upload.attempt)
    stored.note_blob(uow.connection, upload.sha256, size_bytes=upload.size_bytes, now=uow.now)
    stored.attach(
        uow.connection,
        trial_id,
        name,
        sha256=upload.sha256,
        attempt=upload.attempt,
        now=uow.now,
    )
    return find(uow, trial_id, name)


def find(uow: UnitOfWork, trial_id: TrialId, name: str) -> ArtifactRef:
    """Return the trial's file of this name; raises NotFound."""
    trial = trials.get(uow.connection, trial_id)
    found = stored.of_trials(uow.connection, [trial.id], name=name)[trial.id]
    if not found:
        raise NotFound(f"trial {trial.number} of study {trial.study!r} has no file {name!r}.")
    return found[0]


def unreferenced(uow: UnitOfWork) -> list[str]:
    """Delete the rows of unreferenced content, and return its hashes.

    The caller deletes the files before the commit, so no upload can come between.
    """
    return stored.remove_unreferenced(uow.connection, untouched_since=uow.now - GRACE, limit=MAX_COLLECTED)
