"""The end of an attempt: complete, failed, or given back."""

from __future__ import annotations

from fastapi import APIRouter

from tunefleet.protocol import API, CompleteRequest, EndResponse, FailRequest, ReleaseRequest
from tunefleet_master.api.problems import responses
from tunefleet_master.api.trials import Id
from tunefleet_master.parts import Parts, PartsOf
from tunefleet_master.services import endings

router = APIRouter(prefix=f"{API}/trials", tags=["workers"])


@router.post("/{trial_id}/complete", summary="End an attempt: it is done", responses=responses(404, 409))
async def complete(parts: PartsOf, trial_id: Id, body: CompleteRequest) -> EndResponse:
    """The trial ran to its end, or to the stop that it was told. The same call again gives the same answer."""
    return _counted(parts, await parts.database.awrite(lambda uow: endings.complete(uow, trial_id, body)))


@router.post("/{trial_id}/fail", summary="End an attempt: it failed", responses=responses(404, 409))
async def fail(parts: PartsOf, trial_id: Id, body: FailRequest) -> EndResponse:
    """The study's `retry` decides whether another attempt follows. The same call again gives the same answer."""
    return _counted(parts, await parts.database.awrite(lambda uow: endings.fail(uow, trial_id, body)))


@router.post("/{trial_id}/release", summary="End an attempt: give the trial back", responses=responses(404, 409))
async def release(parts: PartsOf, trial_id: Id, body: ReleaseRequest) -> EndResponse:
    """Another attempt goes on from the last checkpoint; it does not count as a failure."""
    return _counted(parts, await parts.database.awrite(lambda uow: endings.release(uow, trial_id, body)))


def _counted(parts: Parts, end: EndResponse) -> EndResponse:
    parts.telemetry.attempt_ended(end)
    return end
