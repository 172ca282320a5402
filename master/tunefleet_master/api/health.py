"""Liveness and readiness, for load balancers and containers."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from tunefleet.errors import StorageUnusable
from tunefleet.model import Model
from tunefleet_master.access import Access, needs
from tunefleet_master.api.problems import responses
from tunefleet_master.app_services import ServicesOf

READY_WITHIN_S = 2.0

router = APIRouter(tags=["operations"])


class Health(Model):
    """The response of a healthy master; an unhealthy one returns a problem document."""

    status: str


@router.get("/healthz", summary="Check liveness")
@needs(Access.PROBE)
async def alive() -> Health:
    """Return `ok` without reading anything; needs no token."""
    return Health(status="ok")


@router.get("/readyz", summary="Check readiness", responses=responses())
@needs(Access.PROBE)
async def ready(services: ServicesOf) -> Health:
    """Read and write the database within two seconds, or return 503; needs no token."""
    if services.closing.is_set():
        raise StorageUnusable("The master is shutting down.")
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            await services.database.aread(lambda uow: uow.connection.exec_driver_sql("SELECT 1").scalar_one())
            await services.database.awrite(lambda uow: None)
    except TimeoutError as error:
        raise StorageUnusable(f"The database did not answer within {READY_WITHIN_S:g} s.") from error
    return Health(status="ready")
