"""Reports of running trials."""

from __future__ import annotations

from fastapi import APIRouter

from tunefleet.protocol import API, Directive, ReportBatch
from tunefleet_master.api.problems import responses
from tunefleet_master.api.trials import Id
from tunefleet_master.parts import PartsOf
from tunefleet_master.services import reports

router = APIRouter(prefix=f"{API}/trials", tags=["workers"])


@router.post("/{trial_id}/reports", summary="Report metrics", responses=responses(404, 409))
async def report(parts: PartsOf, trial_id: Id, batch: ReportBatch) -> Directive:
    """Store a batch of metrics by step and learn what to do next. Repeats are harmless.

    NaN and infinity may be written as strings (`"NaN"`, `"Infinity"`) or as bare tokens; the trial ends as `diverged`.
    """
    directive = await parts.database.awrite(lambda uow: reports.record(uow, trial_id, batch))
    parts.telemetry.reports.inc(len(batch.reports))
    return directive
