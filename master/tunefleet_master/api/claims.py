"""Claiming trials: a long poll."""

from __future__ import annotations

import logging
import uuid

from fastapi import APIRouter, Request

from tunefleet.logs import about
from tunefleet.protocol import API, ClaimRequest, ClaimResponse, Lease
from tunefleet_master.access import Access, needs
from tunefleet_master.api.express import ExpressRoute
from tunefleet_master.api.patience import Patience
from tunefleet_master.api.problems import responses
from tunefleet_master.parts import Parts, PartsOf
from tunefleet_master.services import claims
from tunefleet_master.services.wakeups import CLAIMS, Place

router = APIRouter(prefix=f"{API}/claims", tags=["workers"], route_class=ExpressRoute)

_log = logging.getLogger(__name__)


@router.post("", summary="Take trials to run", responses=responses())
@needs(Access.WORK)
async def claim(parts: PartsOf, request: Request, body: ClaimRequest) -> ClaimResponse:
    """Wait up to `wait_s` seconds for the first trial, then take up to `slots` at once.

    The list of leases is empty when nothing came up. The same `request_id` gives the same leases again, so a claim
    whose answer was lost can be repeated. Each lease has the `attempt` that all later calls for the trial carry.
    """
    if body.request_id is None:  # so that the database may try again after a commit of unknown outcome
        body = body.model_copy(update={"request_id": uuid.uuid4().hex})
    with parts.wakeups.stand_in_line(CLAIMS, claims.kind_of(body)) as place:
        leases = await _claim(parts, body) or await _claim_later(parts, request, body, place=place)
        if len(leases) == body.slots:
            place.served()
    parts.telemetry.claimed(len(leases))
    if _log.isEnabledFor(logging.DEBUG):
        _tell(leases, body.worker)
    timing = parts.database.timing
    return ClaimResponse(leases=_with_tokens(parts, leases), lease_s=timing.lease_s, heartbeat_s=timing.heartbeat_s)


async def _claim(parts: Parts, body: ClaimRequest) -> list[Lease]:
    return await parts.database.awrite_together(claims.claim, body)


async def _claim_later(parts: Parts, request: Request, body: ClaimRequest, *, place: Place) -> list[Lease]:
    leases: list[Lease] = []
    if body.wait_s > 0:
        with parts.telemetry.claims_waiting.track_inprogress():
            async with Patience(request, parts.closing, wait_s=body.wait_s) as patience:
                while not leases and await patience.rings(place):
                    leases = await _claim(parts, body)
    return leases


def _tell(leases: list[Lease], worker: str) -> None:
    for lease in leases:
        trial = about(
            study=lease.study, trial=lease.number, trial_id=lease.trial_id, attempt=lease.attempt, worker=worker
        )
        text = "trial %d of study %s, attempt %d: given to worker %s"
        _log.debug(text, lease.number, lease.study, lease.attempt, worker, extra=trial)


def _with_tokens(parts: Parts, leases: list[Lease]) -> list[Lease]:
    """The leases with a token each, for the processes that run them; on an open master they need none."""
    if parts.keyring.is_open:
        return leases
    token_of = parts.keyring.token_of_attempt
    return [lease.model_copy(update={"token": token_of(lease.trial_id, lease.attempt)}) for lease in leases]
