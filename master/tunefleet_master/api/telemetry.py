"""Telemetry of trials: what `trial.watch` recorded."""

from __future__ import annotations

from fastapi import APIRouter

from tunefleet.protocol import API
from tunefleet.protocol.telemetry import Telemetry
from tunefleet_master.access import Access, needs
from tunefleet_master.api.problems import responses
from tunefleet_master.api.trials import Id
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.insights import telemetry

router = APIRouter(prefix=API, tags=["trials"])


@router.get("/trials/{trial_id}/telemetry", summary="Read the telemetry of a trial", responses=responses(404))
@needs(Access.READ)
async def read(services: ServicesOf, trial_id: Id) -> Telemetry:
    """Return what `trial.watch` has stored so far: update-to-weight ratios, gradient norms and layer outputs."""
    return await telemetry.read(services.database, services.blobs, trial_id=trial_id)
