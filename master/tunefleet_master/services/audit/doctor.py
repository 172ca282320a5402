"""Verification of the master's invariants in its database and files. Read-only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunefleet.errors import NotFound
from tunefleet.study.folds import fold_of
from tunefleet_master.services.audit.acknowledged_writes import AcknowledgedWrites, compare
from tunefleet_master.services.audit.replay import replay
from tunefleet_master.services.planning.creation import fold_identity, identity
from tunefleet_master.storage import audit
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.tables import AttemptRow, TrialRow
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study


@dataclass(frozen=True, slots=True)
class Check:
    """An invariant, the number of checked items, and its violations."""

    invariant: str
    promise: str
    n_checked: int
    violations: Sequence[str]


def verify(uow: UnitOfWork, blobs: BlobStore, *, acknowledged: AcknowledgedWrites) -> list[Check]:
    """Check every invariant that storage can violate; `acknowledged` is from the journals of clients."""
    connection = uow.connection
    n_trials, n_attempts = audit.count(connection, TrialRow), audit.count(connection, AttemptRow)
    found = audit.studies(connection)
    doubled, stale, lost = compare(connection, acknowledged)
    files = list(audit.stored_files(connection))
    once = [*audit.uneven_results(connection), *doubled]
    fenced = [*audit.unfenced_writes(connection), *stale]
    return [
        Check("I1", "each result is counted once", n_trials, once),
        Check("I2", "no trial is lost", n_trials, audit.lost_trials(connection)),
        Check("I3", "no write of an old attempt is accepted", n_attempts, fenced),
        Check("I4", "a budget of N ends with N finished trials", len(found), audit.overdrawn_budgets(connection)),
        Check("I5", "what was acknowledged is in the database", acknowledged.n_entries, lost),
        Check("I6", "proposals can be repeated, and none comes twice", n_trials, list(_proposals(uow, found))),
        Check("I8", "a poison trial is set aside", n_trials, audit.trials_past_their_crashes(connection)),
        Check("I10", "every listed file is whole", len(files), list(_files(files, blobs))),
        Check("state", "states and what goes with them agree", n_trials, audit.odd_states(connection)),
        Check("pages", "the database finds no fault with itself", 1, audit.broken_pages(connection)),
    ]


def _proposals(uow: UnitOfWork, found: Sequence[Study]) -> Iterator[str]:
    """Yield configurations that exist twice, or that their sampler would not propose again from the same events."""
    for study in found:
        numbers: dict[str, int] = {}
        for proposal in audit.proposals(uow.connection, study.id):
            name = f"study {study.name}, trial {proposal.trial}"
            of_configuration = identity(proposal.params, None if proposal.member is None else proposal.position)
            config_hash = fold_identity(of_configuration, fold_of(study.spec, proposal.trial))
            if config_hash != proposal.config_hash:
                yield f"{name}: its configuration is not the one that was hashed"
            if config_hash in numbers:
                yield f"{name}: has the configuration of trial {numbers[config_hash]}"
            numbers[config_hash] = proposal.trial
        yield from (f"study {study.name}, {difference}" for difference in replay(uow, study).differing)


def _files(files: Sequence[audit.StoredFile], blobs: BlobStore) -> Iterator[str]:
    """Yield files that are missing, or with another size or content than the database records."""
    faults: dict[str, str | None] = {}
    for file in files:
        if file.sha256 not in faults:
            faults[file.sha256] = _fault(file, blobs)
        if fault := faults[file.sha256]:
            yield f"study {file.study}, trial {file.trial}: the file {file.name} {fault}"


def _fault(file: audit.StoredFile, blobs: BlobStore) -> str | None:
    try:
        size_bytes = blobs.stat(file.sha256).st_size
        with blobs.path(file.sha256).open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
    except NotFound:
        return "is not in the store"
    if size_bytes != file.size_bytes:
        return f"has {size_bytes} bytes, and not {file.size_bytes}"
    return None if found == file.sha256 else f"has the sha256 {found[:12]}…, and not {file.sha256[:12]}…"
