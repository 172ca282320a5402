"""Reading a trial's telemetry: a file that a worker wrote, so that it is taken for what it says only after a check."""

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

HINT = "Trials of the built-in tasks have it from their first epoch on, others that call trial.watch(model, optimizer)."


async def read(database: Database, blobs: BlobStore, *, trial_id: TrialId) -> Telemetry:
    """The trial's telemetry. Raises NotFound: there is no such trial, it has none, or its file is none."""
    ref = await database.aread(lambda uow: find(uow, trial_id))
    return await asyncio.to_thread(parsed, blobs, ref)


def find(uow: UnitOfWork, trial_id: TrialId) -> ArtifactRef:
    """The file that should hold it; raises NotFound."""
    try:
        return artifacts.find(uow, trial_id, TELEMETRY)
    except NotFound as error:
        raise NotFound(error.message, hint=error.hint or HINT) from error


def parsed(blobs: BlobStore, ref: ArtifactRef) -> Telemetry:
    """What the file says, as plain data; raises NotFound when it is no telemetry."""
    if ref.size_bytes > MAX_BYTES:
        raise NotFound(f"the file {TELEMETRY} is no telemetry: it has {ref.size_bytes} bytes of at most {MAX_BYTES}.")
    with blobs.open(ref.sha256) as file:
        content = file.read(MAX_BYTES)
    try:
        return Telemetry.model_validate_json(content)
    except ValidationError as error:
        raise NotFound(f"the file {TELEMETRY} is no telemetry: {problems_of(error)[0]}.") from error
