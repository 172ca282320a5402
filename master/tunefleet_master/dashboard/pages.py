"""Pages: each reads its data in one transaction, trials page by page, and renders a template."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse
from pydantic import Field
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from tunefleet.errors import NotFound
from tunefleet.model import Model
from tunefleet.names import MAX_ID, Name, TrialId
from tunefleet.protocol import ProblemDocument, StatusView, StudyState, TrialDetail, TrialState
from tunefleet.protocol.looks import N_EXAMPLES, TrialLook
from tunefleet.protocol.predictions import FILE as PREDICTIONS
from tunefleet.protocol.telemetry import SUMMARIES, TELEMETRY, Telemetry
from tunefleet_master.access import Access, needs
from tunefleet_master.app_services import Services, ServicesOf
from tunefleet_master.dashboard import charts, login
from tunefleet_master.dashboard.api_page import sections_of
from tunefleet_master.dashboard.rendering import render
from tunefleet_master.dashboard.telemetry_charts import telemetry_charts
from tunefleet_master.services.insights import diagnoses, predictions, telemetry
from tunefleet_master.services.reading import fronts, status, studies, trials, workers
from tunefleet_master.storage.trial_pages import TrialQuery
from tunefleet_master.storage.unit_of_work import UnitOfWork

PAGE_SIZE = 50
MAX_EFFECTS = 20  # parameters whose importance is shown; the others explain next to nothing
N_SUSPECTS = 24  # samples shown with labels that may be wrong
MAX_POINTS = 400  # a chart of 640 units cannot show more

router = APIRouter(include_in_schema=False)


class Table(Model):
    """The query of a study's page: filter, sort order and page of its trials."""

    state: TrialState | None = None
    sort: str = Field(default="number", max_length=200)
    descending: bool = True
    page: int = Field(default=1, ge=1, le=1_000_000)

    def link(self, **changes: object) -> str:
        """The query of a link to the same table with some fields changed."""
        chosen = self.model_copy(update=changes)
        return "?" + urlencode(chosen.model_dump(mode="json", exclude_defaults=True))

    def sorted_by(self, sort: str, *, descending: bool = False) -> str:
        """The query of a column header's link: sort by the column, or reverse the order if already sorted by it."""
        new_order = not self.descending if sort == self.sort else descending
        return self.link(sort=sort, descending=new_order, page=1)

    def as_query(self) -> TrialQuery:
        """Convert it for the service."""
        cursor = str((self.page - 1) * PAGE_SIZE)
        return TrialQuery(self.state, self.sort, self.descending, cursor, PAGE_SIZE)


def install(app: FastAPI) -> None:
    """Add the pages and their static files to the application."""
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.router.routes.extend([*router.routes, *login.router.routes])


def problem_page(request: Request, problem: ProblemDocument) -> Response:
    """Render an error for a browser; without a token, redirect to the login."""
    if problem.status == 401:
        requested = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(requested, safe='')}", 303)
    return render("problem.html", status=problem.status, problem=problem)


@router.get("/")
@needs(Access.READ)
async def home(services: ServicesOf) -> HTMLResponse:
    """Render studies and workers at a glance."""
    view = await services.database.aread(status.read)
    return render("home.html", view=view, now=view.now, tiles=_tiles(view))


@router.get("/workers")
@needs(Access.READ)
async def fleet(services: ServicesOf) -> HTMLResponse:
    """Render the workers with all their facts."""
    found, now = await services.database.aread(lambda uow: (workers.page(uow), uow.now))
    return render("workers.html", workers=found, now=now)


@router.get("/studies/{name}")
@needs(Access.READ)
async def study(services: ServicesOf, name: Name, table: Annotated[Table, Query()]) -> HTMLResponse:
    """Render a study's facts, its current insight, and a page of its trials.

    An insight that is not available yet is being computed; the page shows it after a refresh.
    """

    def read(uow: UnitOfWork) -> dict[str, Any]:
        found = studies.read(uow, name)
        front = fronts.page(uow, name, cursor=None, limit=PAGE_SIZE) if found.objectives else None
        return {"study": found, "front": front, "page": trials.page(uow, name, table.as_query()), "now": uow.now}

    found = await services.database.aread(read)
    front = found["front"]
    drawn = None if front is None else charts.front_chart(found["study"].objectives, front.items)
    insight = await services.insights.of(name)
    shown: dict[str, Any] = {"insight": insight, "most_effects": MAX_EFFECTS, "front_drawn": drawn, **found}
    return render("study.html", table=table, page_size=PAGE_SIZE, **shown)


@router.get("/trials/{trial_id}")
@needs(Access.READ)
async def trial(services: ServicesOf, trial_id: Annotated[TrialId, InPath(ge=0, le=MAX_ID)]) -> HTMLResponse:
    """Render a trial's configuration, findings, curves, attempts and files."""

    def read(uow: UnitOfWork) -> dict[str, Any]:
        found = trials.read(uow, trial_id, max_points=MAX_POINTS)
        return {"trial": found, "study": studies.read(uow, found.study), "now": uow.now}

    found = await services.database.aread(read)
    look, watched = await _predictions_of(services, found["trial"]), await _telemetry(services, found["trial"])
    diagnosis = await services.database.aread(lambda uow: diagnoses.of_trial(uow, trial_id, watched=watched))
    drawn = charts.charts_of(found["trial"].curve, leave_out=SUMMARIES)
    inside = [] if watched is None else telemetry_charts(watched)
    return render("trial.html", charts_drawn=drawn, inside_drawn=inside, look=look, diagnosis=diagnosis, **found)


async def _predictions_of(services: Services, trial: TrialDetail) -> TrialLook | None:
    """Samples of its predictions; None if it has none that can be read."""
    if all(file.name != PREDICTIONS for file in trial.artifacts):
        return None
    with suppress(NotFound):
        source = await services.database.aread(lambda uow: predictions.of_trial(uow, trial.id))
        return await asyncio.to_thread(predictions.read_trial, services.blobs, source)
    return None


@router.get("/studies/{name}/look")
@needs(Access.READ)
async def look(services: ServicesOf, name: Name) -> HTMLResponse:
    """Render the same samples across a study's best trials, and labels that may be wrong."""
    found = await services.database.aread(lambda uow: studies.read(uow, name))
    try:
        limit = predictions.MAX_FOR_LABELS
        sources = await services.database.aread(lambda uow: predictions.of_study(uow, name, limit=limit))
        readable = await asyncio.to_thread(predictions.read_study, services.blobs, sources)
    except NotFound as nothing:
        return render("look.html", study=found, look=None, labels=None, nothing=str(nothing))
    across = await asyncio.to_thread(readable.comparison, count=N_EXAMPLES)
    labels = await asyncio.to_thread(readable.label_issues, count=N_SUSPECTS)
    return render("look.html", study=found, look=across, labels=labels, nothing="")


@router.get("/docs")
@needs(Access.READ)
async def api(request: Request) -> HTMLResponse:
    """Render the API from its own OpenAPI document, without external resources."""
    return render("api.html", sections=sections_of(request.app.openapi()), description=request.app.description)


async def _telemetry(services: Services, found: TrialDetail) -> Telemetry | None:
    """The telemetry of a trial; None if it has none."""
    ref = next((each for each in found.artifacts if each.name == TELEMETRY), None)
    if ref is None:
        return None
    with suppress(NotFound):  # a user's own file with the same name
        return await asyncio.to_thread(telemetry.parsed, services.blobs, ref)
    return None


def _tiles(view: StatusView) -> list[tuple[int, str]]:
    running = [study for study in view.studies if study.state is StudyState.RUNNING]
    alive = sum(worker.alive for worker in view.workers)
    of_all = f" of {len(view.workers)}" if alive < len(view.workers) else ""
    return [
        (len(running), "studies running"),
        (sum(study.trials.get(TrialState.RUNNING, 0) for study in running), "trials running"),
        (sum(study.trials.get(TrialState.COMPLETE, 0) for study in running), "trials complete"),
        (alive, f"workers alive{of_all}"),
    ]
