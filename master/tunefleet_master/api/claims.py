"""The claim of trials: a long poll."""

from __future__ import annotations

import logging
import uuid

from fastapi import APIRouter, Request

from tunefleet.logs import about
from tunefleet.protocol import API, ClaimRequest, ClaimResponse, Lease
from tunefleet_master.access import Access, needs
from tunefleet_master.api.fast_path import FastPathRoute
from tunefleet_master.api.long_poll import LongPoll
from tunefleet_master.api.problems import responses
from tunefleet_master.app_services import Services, ServicesOf
from tunefleet_master.services.execution import claims
from tunefleet_master.storage.subscriptions import CLAIMS, Waiter

router = APIRouter(prefix=f"{API}/claims", tags=["workers"], route_class=FastPathRoute)

_log = logging.getLogger(__name__)


@router.post("", summary="Claim trials", responses=responses())
@needs(Access.WORK)
async def claim(services: ServicesOf, request: Request, body: ClaimRequest) -> ClaimResponse:
    """Wait up to `wait_s` seconds for the first trial, then take up to `slots` at once.

    The list of leases is empty if no trial became available. Repeating a request with the same `request_id` returns
    the same leases, so a lost response does no harm. All later calls for a trial carry the `attempt` of its lease.
    """
    if body.request_id is None:  # so that the database may retry after a commit with an unknown outcome
        body = body.model_copy(update={"request_id": uuid.uuid4().hex})
    with services.subscriptions.wait_in_queue(CLAIMS, claims.offer_of(body)) as waiter:
        leases = await _claim(services, body) or await _claim_later(services, request, body, waiter=waiter)
        if len(leases) == body.slots:
            waiter.mark_served()
    services.metrics.claimed(len(leases))
    if _log.isEnabledFor(logging.DEBUG):
        _log_leases(leases, body.worker)
    timing = services.database.timing
    return ClaimResponse(leases=_with_tokens(services, leases), lease_s=timing.lease_s, heartbeat_s=timing.heartbeat_s)


async def _claim(services: Services, body: ClaimRequest) -> list[Lease]:
    return await services.database.awrite_together(claims.claim, body)


async def _claim_later(services: Services, request: Request, body: ClaimRequest, *, waiter: Waiter) -> list[Lease]:
    leases: list[Lease] = []
    if body.wait_s > 0:
        with services.metrics.claims_waiting.track_inprogress():
            async with LongPoll(request, services.closing, wait_s=body.wait_s) as long_poll:
                while not leases and await long_poll.wait(waiter):
                    leases = await _claim(services, body)
    return leases


def _log_leases(leases: list[Lease], worker: str) -> None:
    for lease in leases:
        trial = about(
            study=lease.study, trial=lease.number, trial_id=lease.trial_id, attempt=lease.attempt, worker=worker
        )
        text = "trial %d of study %s, attempt %d: given to worker %s"
        _log.debug(text, lease.number, lease.study, lease.attempt, worker, extra=trial)


def _with_tokens(services: Services, leases: list[Lease]) -> list[Lease]:
    """Add to each lease a token for the process that runs it; an open master needs no tokens."""
    if services.token_cache.is_open:
        return leases
    token_of = services.token_cache.token_of_attempt
    return [lease.model_copy(update={"token": token_of(lease.trial_id, lease.attempt)}) for lease in leases]
