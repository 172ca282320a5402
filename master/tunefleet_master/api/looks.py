"""Error analysis: correct and wrong predictions of trials."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from tunefleet.names import Name
from tunefleet.protocol import API
from tunefleet.protocol.looks import N_EXAMPLES, LabelLook, StudyLook, TrialLook
from tunefleet_master.access import Access, needs
from tunefleet_master.api.problems import responses
from tunefleet_master.api.trials import Id
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.insights import predictions

MAX_SHOWN = 500

router = APIRouter(prefix=API, tags=["looks"])

Count = Annotated[int, Query(ge=1, le=MAX_SHOWN, description="The number of samples of each kind.")]


@router.get("/trials/{trial_id}/look", summary="Inspect a trial's predictions", responses=responses(404))
@needs(Access.READ)
async def look_at_trial(services: ServicesOf, trial_id: Id) -> TrialLook:
    """Return samples of the study's probe set that the trial's model predicts correctly and wrongly.

    Returns 404 if the trial has stored no predictions, or none that can be read.
    """
    source = await services.database.aread(lambda uow: predictions.of_trial(uow, trial_id))
    return await asyncio.to_thread(predictions.read_trial, services.blobs, source)


@router.get("/studies/{name}/look", summary="Compare predictions across trials", responses=responses(404))
@needs(Access.READ)
async def look_at_study(services: ServicesOf, name: Name, count: Count = N_EXAMPLES) -> StudyLook:
    """Return samples where only the best trial is wrong, where only it is right, and where all trials are wrong.

    The best trials with predictions are compared; `left_out` lists the others.
    """
    sources = await services.database.aread(lambda uow: predictions.of_study(uow, name, limit=predictions.MAX_COMPARED))
    found = await asyncio.to_thread(predictions.read_study, services.blobs, sources)
    return await asyncio.to_thread(found.comparison, count=count)


@router.get("/studies/{name}/labels", summary="List labels that may be wrong", responses=responses(404))
@needs(Access.READ)
async def look_at_labels(services: ServicesOf, name: Name, count: Count = 50) -> LabelLook:
    """Return samples that models trained without them assign to another class than their label, most certain first.

    The method is confident learning (Northcutt et al. 2021), on the trials' predictions for held-out samples.
    """
    limit = predictions.MAX_FOR_LABELS
    sources = await services.database.aread(lambda uow: predictions.of_study(uow, name, limit=limit))
    found = await asyncio.to_thread(predictions.read_study, services.blobs, sources)
    return await asyncio.to_thread(found.label_issues, count=count)
