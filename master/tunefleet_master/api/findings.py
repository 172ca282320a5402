"""Findings about studies."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from tunefleet.names import Name
from tunefleet.protocol import API, MAX_WAIT_S, StudyFindings
from tunefleet_master.access import Access, needs
from tunefleet_master.api.long_poll import LongPoll
from tunefleet_master.api.problems import responses
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.insights.insights import insight_of

DEFAULT_WAIT_S = 10.0

router = APIRouter(prefix=f"{API}/studies", tags=["studies"])


@router.get("/{name}/findings", summary="Read the findings of a study", responses=responses(404))
@needs(Access.READ)
async def read(
    services: ServicesOf,
    request: Request,
    name: Name,
    wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Maximum time to wait for a newer result.")] = (
        DEFAULT_WAIT_S
    ),
) -> StudyFindings:
    """Return findings with evidence and remedies, the importance of parameters, and the expected gain of more trials.

    The analysis takes seconds and is cached. A running study is analysed again when a tenth more trials have ended;
    `n_ended` and `n_newer` state which trials a result covers. While a newer result is computed, `renewing` is set,
    and after `wait_s` the response is the older one.
    """
    with services.subscriptions.subscribe(insight_of(name)) as subscription:
        async with LongPoll(request, services.closing, wait_s=wait_s) as long_poll:
            while True:
                found = await services.insights.of(name)
                if not found.renewing or not await long_poll.wait(subscription):
                    return found
