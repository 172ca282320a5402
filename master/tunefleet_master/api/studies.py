"""Studies: submit, list, read, change, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from tunefleet.names import Name
from tunefleet.protocol import API, Page, RetryRequest, RetryResponse, StudyDetail, StudyPatch, StudyView, TrialView
from tunefleet.study.spec import StudySpec
from tunefleet_master.access import Access, needs
from tunefleet_master.api.problems import responses
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.planning import manual_trials, study_control, submission
from tunefleet_master.services.reading import fronts, studies
from tunefleet_master.storage.unit_of_work import UnitOfWork

router = APIRouter(prefix=f"{API}/studies", tags=["studies"])


@router.post("", status_code=201, summary="Submit a study", responses={200: {"model": StudyDetail}, **responses(409)})
@needs(Access.SUBMIT)
async def submit(services: ServicesOf, spec: StudySpec, response: Response) -> StudyDetail:
    """Submit and start a study.

    Submitting the same spec again changes nothing and returns 200. A different spec under an existing name returns
    409 `study_exists`.
    """

    def work(uow: UnitOfWork) -> tuple[StudyDetail, bool]:
        study, is_new = submission.submit(uow, spec)
        return studies.detail(uow, study), is_new

    study, is_new = await services.database.awrite(work)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"{API}/studies/{study.name}"
    return study


@router.get("", summary="List the studies", responses=responses())
@needs(Access.FETCH)
async def list_studies(
    services: ServicesOf, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=1_000)] = 100
) -> Page[StudyView]:
    """Return studies, newest first; `next` of a page is the `cursor` of the following page."""
    return await services.database.aread(lambda uow: studies.page(uow, cursor=cursor, limit=limit))


@router.get("/{name}", summary="Read a study", responses=responses(404))
@needs(Access.FETCH)
async def read(services: ServicesOf, name: Name) -> StudyDetail:
    """Return the study with its spec, the number of its trials in each state, and its best trial."""
    return await services.database.aread(lambda uow: studies.read(uow, name))


@router.get("/{name}/front", summary="Read the Pareto front of a study", responses=responses(404, 409))
@needs(Access.READ)
async def read_front(
    services: ServicesOf,
    name: Name,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Page[TrialView]:
    """Return the trials on the Pareto front of a study with several objectives.

    No other trial is at least as good in every objective, and all respect the bounds of `outcomes`. The best in the
    first objective come first. Returns 409 for a study with one objective.
    """
    return await services.database.aread(lambda uow: fronts.page(uow, name, cursor=cursor, limit=limit))


@router.patch("/{name}", summary="Pause, resume, stop or change a study", responses=responses(404, 409))
@needs(Access.SUBMIT)
async def change(services: ServicesOf, name: Name, patch: StudyPatch) -> StudyDetail:
    """Change the given fields; omitted fields stay as they are."""
    return await services.database.awrite(lambda uow: studies.detail(uow, study_control.change(uow, name, patch)))


@router.delete("/{name}", status_code=204, summary="Delete a study", responses=responses(404, 409))
@needs(Access.SUBMIT)
async def delete(services: ServicesOf, name: Name) -> None:
    """Delete the study with its trials and their files; 409 while it runs."""
    await services.database.awrite(lambda uow: study_control.delete(uow, name))


@router.post("/{name}/retry", summary="Run failed trials again", responses=responses(404, 409))
@needs(Access.SUBMIT)
async def retry(services: ServicesOf, name: Name, body: RetryRequest) -> RetryResponse:
    """Queue failed trials of the study again: all of them, or those with one of the given failures."""
    return await services.database.awrite(lambda uow: manual_trials.retry(uow, name, body))
