"""Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from tunefleet_master.parts import PartsOf
from tunefleet_master.services import metrics

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(tags=["operations"])


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}}},
)
async def scrape(parts: PartsOf) -> Response:
    """Requests, claims, reports and refusals since the start; trials, workers and leases as they are now."""
    parts.telemetry.show(await parts.database.aread(metrics.snapshot))
    return Response(parts.telemetry.text(), media_type=MEDIA_TYPE)
