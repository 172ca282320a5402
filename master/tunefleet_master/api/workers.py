"""Endpoints for the fleet."""

from __future__ import annotations

from fastapi import APIRouter

from tunefleet.protocol import API, WorkerView
from tunefleet_master.access import Access, needs
from tunefleet_master.api.problems import responses
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.reading import workers

router = APIRouter(prefix=f"{API}/workers", tags=["fleet"])


@router.get("", summary="List the workers", responses=responses())
@needs(Access.READ)
async def list_workers(services: ServicesOf) -> list[WorkerView]:
    """Return every worker that has asked for trials, with its device, last heartbeat and current trials."""
    return await services.database.aread(workers.page)
