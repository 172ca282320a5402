"""The status of the master at a glance."""

from __future__ import annotations

from fastapi import APIRouter

from tunefleet.protocol import API, StatusView
from tunefleet_master.access import Access, needs
from tunefleet_master.api.problems import responses
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.reading import status

router = APIRouter(prefix=f"{API}/status", tags=["fleet"])


@router.get("", summary="Read the status", responses=responses())
@needs(Access.READ)
async def read(services: ServicesOf) -> StatusView:
    """Return the studies and the workers, as the dashboard's first page shows them."""
    return await services.database.aread(status.read)
