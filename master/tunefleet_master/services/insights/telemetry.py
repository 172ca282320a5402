"""Telemetry of trials, read from files that workers stored; the content is untrusted and checked."""

from __future__ import annotations

import asyncio

from pydantic import ValidationError

from tunefleet.errors import NotFound
from tunefleet.model import problems_of
from tunefleet.names import TrialId
from tunefleet.protocol import ArtifactRef
from tunefleet.protocol.telemetry import MAX_BYTES, TELEMETRY, Telemetry
from tunefleet_master.services.execution import artifacts
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.unit_of_work import UnitOfWork

HINT = (
    "Trials of built-in tasks store it from their first epoch on; other trials store it after "
    "trial.watch(model, optimizer)."
)


async def read(database: Database, blobs: BlobStore, *, trial_id: TrialId) -> Telemetry:
    """Return the trial's telemetry; raises NotFound when trial or file do not exist, or the file is not telemetry."""
    ref = await database.aread(lambda uow: find(uow, trial_id))
    return await asyncio.to_thread(parsed, blobs, ref)


def find(uow: UnitOfWork, trial_id: TrialId) -> ArtifactRef:
    """Return the trial's telemetry file; raises NotFound."""
    try:
        return artifacts.find(uow, trial_id, TELEMETRY)
    except NotFound as error:
        raise NotFound(error.message, hint=error.hint or HINT) from error


def parsed(blobs: BlobStore, ref: ArtifactRef) -> Telemetry:
    """Return the content of a telemetry file; raises NotFound when it is not telemetry."""
    if ref.size_bytes > MAX_BYTES:
        raise NotFound(f"the file {TELEMETRY} is not telemetry: it has {ref.size_bytes} bytes of at most {MAX_BYTES}.")
    with blobs.open(ref.sha256) as file:
        content = file.read(MAX_BYTES)
    try:
        return Telemetry.model_validate_json(content)
    except ValidationError as error:
        raise NotFound(f"the file {TELEMETRY} is not telemetry: {problems_of(error)[0]}.") from error
