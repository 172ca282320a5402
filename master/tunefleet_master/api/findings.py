"""What studies show."""

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


@router.get("/{name}/findings", summary="Read what a study shows", responses=responses(404))
@needs(Access.READ)
async def read(
    services: ServicesOf,
    request: Request,
    name: Name,
    wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="How long to wait for a newer answer.")] = (
        DEFAULT_WAIT_S
    ),
) -> StudyFindings:
    """Findings with their evidence and what to do, which parameters matter, and what the trials to come would gain.

    It takes seconds to work out, and is kept. A study that runs is looked at again when a tenth more trials have ended;
    `n_ended` and `n_newer` say which trials an answer is about. While a newer one is worked out, `renewing` is set, and
    after `wait_s` you get what there is.
    """
    with services.subscriptions.subscribe(insight_of(name)) as subscription:
        async with LongPoll(request, services.closing, wait_s=wait_s) as patience:
            while True:
                found = await services.insights.of(name)
                if not found.renewing or not await patience.rings(subscription):
                    return found
