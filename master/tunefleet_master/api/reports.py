"""Reports of running trials."""

from __future__ import annotations

from fastapi import APIRouter, Request

from tunefleet.protocol import API, Directive, ReportBatch
from tunefleet_master.access import Access, check_attempt, needs
from tunefleet_master.api.fast_path import FastPathRoute
from tunefleet_master.api.problems import responses
from tunefleet_master.api.trials import Id
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.execution.reports import Reported

router = APIRouter(prefix=f"{API}/trials", tags=["workers"], route_class=FastPathRoute)


@router.post("/{trial_id}/reports", summary="Report metrics", responses=responses(404, 409))
@needs(Access.ATTEMPT)
async def report(services: ServicesOf, request: Request, trial_id: Id, batch: ReportBatch) -> Directive:
    """Store a batch of metrics by step, and return the directive: continue, stop or pause. Repeats are harmless.

    NaN and infinity may be strings (`"NaN"`, `"Infinity"`) or bare tokens; the trial then ends as `diverged`.
    """
    check_attempt(request, batch.attempt)
    directive = await services.database.awrite_together(services.record_reports, Reported(trial_id, batch))
    services.metrics.reports.inc(len(batch.reports))
    return directive
