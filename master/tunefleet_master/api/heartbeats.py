"""Heartbeats of workers."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter

from tunefleet.protocol import API, HeartbeatRequest, HeartbeatResponse
from tunefleet_master.access import Access, needs
from tunefleet_master.api.fast_path import FastPathRoute
from tunefleet_master.api.problems import responses
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.execution import heartbeats

# Nobody waits for the response to a heartbeat. So heartbeats of the same moment share a transaction; for a thousand
# idle workers they are most of the master's load.
TOGETHER_S = 0.05

router = APIRouter(prefix=f"{API}/heartbeats", tags=["workers"], route_class=FastPathRoute)


@router.post("", summary="Extend leases", responses=responses())
@needs(Access.WORK)
async def beat(services: ServicesOf, body: HeartbeatRequest) -> HeartbeatResponse:
    """Extend all leases of a worker; the response names lost leases and trials that must stop."""
    await asyncio.sleep(TOGETHER_S - time.monotonic() % TOGETHER_S)
    return await services.database.awrite_together(heartbeats.beat, body)
