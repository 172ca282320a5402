"""The end of an attempt: completed, failed or released."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request

from tunefleet.logs import about
from tunefleet.protocol import API, CompleteRequest, EndResponse, FailRequest, ReleaseRequest
from tunefleet_master.access import Access, check_attempt, needs
from tunefleet_master.api.fast_path import FastPathRoute
from tunefleet_master.api.problems import responses
from tunefleet_master.api.trials import Id
from tunefleet_master.app_services import Services, ServicesOf
from tunefleet_master.services.execution import completion
from tunefleet_master.services.execution.completion import Ended

router = APIRouter(prefix=f"{API}/trials", tags=["workers"], route_class=FastPathRoute)

_log = logging.getLogger(__name__)


@router.post("/{trial_id}/complete", summary="Complete an attempt", responses=responses(404, 409))
@needs(Access.ATTEMPT)
async def complete(services: ServicesOf, request: Request, trial_id: Id, body: CompleteRequest) -> EndResponse:
    """End an attempt that ran to its end or to an ordered stop. Repeating the call returns the same response."""
    check_attempt(request, body.attempt)
    return await _end(services, Ended(trial_id, body))


@router.post("/{trial_id}/fail", summary="Fail an attempt", responses=responses(404, 409))
@needs(Access.ATTEMPT)
async def fail(services: ServicesOf, request: Request, trial_id: Id, body: FailRequest) -> EndResponse:
    """End an attempt that failed; the study's `retry` decides on another one. Repeats return the same response."""
    check_attempt(request, body.attempt)
    return await _end(services, Ended(trial_id, body))


@router.post("/{trial_id}/release", summary="Release a trial", responses=responses(404, 409))
@needs(Access.ATTEMPT)
async def release(services: ServicesOf, request: Request, trial_id: Id, body: ReleaseRequest) -> EndResponse:
    """Give the trial back; another attempt continues from the last checkpoint. It does not count as a failure."""
    check_attempt(request, body.attempt)
    return await _end(services, Ended(trial_id, body))


async def _end(services: Services, ended: Ended) -> EndResponse:
    end = await services.database.awrite_together(completion.end, ended)
    services.metrics.attempt_ended(end)
    if _log.isEnabledFor(logging.DEBUG):
        trial = about(trial_id=ended.trial_id, attempt=ended.request.attempt)
        why = f" ({end.failure})" if end.failure else ""
        text = "attempt %d of the trial with id %d has ended: the trial is %s%s"
        _log.debug(text, ended.request.attempt, ended.trial_id, end.state, why, extra=trial)
    return end
