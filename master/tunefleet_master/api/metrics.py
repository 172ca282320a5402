"""Metrics for Prometheus."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response

from tunefleet.errors import StorageUnusable
from tunefleet_master.access import Access, needs
from tunefleet_master.app_services import Services, ServicesOf
from tunefleet_master.services.reading import metrics
from tunefleet_master.services.reading.metrics import Fleet

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ANSWER_WITHIN_S = 5.0  # half of the time that Prometheus usually waits for a scrape

router = APIRouter(tags=["operations"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}}},
)
@needs(Access.READ)
async def scrape(services: ServicesOf) -> Response:
    """Return the counters of this master since its start, and gauges of studies, queues, leases and workers.

    If the database does not respond, `tunefleet_database_up` is 0 and the counters are still returned.
    """
    services.metrics.show(await _fleet(services))
    return Response(await asyncio.to_thread(services.metrics.text), media_type=MEDIA_TYPE)


async def _fleet(services: Services) -> Fleet | None:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await services.database.aread(metrics.snapshot)
    except (StorageUnusable, TimeoutError):
        return None
