"""The end of an attempt: complete, failed, or given back."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request

from tunefleet.logs import about
from tunefleet.protocol import API, CompleteRequest, EndResponse, FailRequest, ReleaseRequest
from tunefleet_master.access import Access, confine, needs
from tunefleet_master.api.express import ExpressRoute
from tunefleet_master.api.problems import responses
from tunefleet_master.api.trials import Id
from tunefleet_master.parts import Parts, PartsOf
from tunefleet_master.services import endings
from tunefleet_master.services.endings import Ended

router = APIRouter(prefix=f"{API}/trials", tags=["workers"], route_class=ExpressRoute)

_log = logging.getLogger(__name__)


@router.post("/{trial_id}/complete", summary="End an attempt: it is done", responses=responses(404, 409))
@needs(Access.ATTEMPT)
async def complete(parts: PartsOf, request: Request, trial_id: Id, body: CompleteRequest) -> EndResponse:
    """The trial ran to its end, or to the stop that it was told. The same call again gives the same answer."""
    confine(request, body.attempt)
    return await _end(parts, Ended(trial_id, body))


@router.post("/{trial_id}/fail", summary="End an attempt: it failed", responses=responses(404, 409))
@needs(Access.ATTEMPT)
async def fail(parts: PartsOf, request: Request, trial_id: Id, body: FailRequest) -> EndResponse:
    """The study's `retry` decides whether another attempt follows. The same call again gives the same answer."""
    confine(request, body.attempt)
    return await _end(parts, Ended(trial_id, body))


@router.post("/{trial_id}/release", summary="End an attempt: give the trial back", responses=responses(404, 409))
@needs(Access.ATTEMPT)
async def release(parts: PartsOf, request: Request, trial_id: Id, body: ReleaseRequest) -> EndResponse:
    """Another attempt goes on from the last checkpoint; it does not count as a failure."""
    confine(request, body.attempt)
    return await _end(parts, Ended(trial_id, body))


async def _end(parts: Parts, ended: Ended) -> EndResponse:
    end = await parts.database.awrite_together(endings.end, ended)
    parts.telemetry.attempt_ended(end)
    if _log.isEnabledFor(logging.DEBUG):
        trial = about(trial_id=ended.trial_id, attempt=ended.request.attempt)
        why = f" ({end.failure})" if end.failure else ""
        text = "attempt %d of the trial with id %d has ended: the trial is %s%s"
        _log.debug(text, ended.request.attempt, ended.trial_id, end.state, why, extra=trial)
    return end
