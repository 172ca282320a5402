"""Trials: enqueue, list, read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, ConfigDict, Field

from tunefleet.model import Model
from tunefleet.names import MAX_ID, Name, TrialId
from tunefleet.protocol import (
    API,
    ConfigurationView,
    EnqueueRequest,
    Page,
    TrialDetail,
    TrialFindings,
    TrialState,
    TrialView,
)
from tunefleet_master.access import Access, needs
from tunefleet_master.api.problems import responses
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.insights import diagnoses
from tunefleet_master.services.planning import manual_trials
from tunefleet_master.services.reading import trials
from tunefleet_master.storage.trial_pages import TrialQuery

router = APIRouter(prefix=API, tags=["trials"])

Id = Annotated[TrialId, Path(ge=0, le=MAX_ID, description="The trial's id, which is not its number within the study.")]
Number = Annotated[int, Path(ge=0, le=MAX_ID, description="The trial's number within its study, from 0.")]


class Listing(Model):
    """Query parameters of a list of trials."""

    model_config = ConfigDict(use_attribute_docstrings=True)  # query fields get descriptions before the schema exists

    state: TrialState | None = None
    """Only trials in this state."""
    sort: str = Field(default="number", max_length=200)
    """`number`, `state`, `value`, `duration`, … or a parameter's name."""
    descending: bool = False
    cursor: str | None = Field(default=None, max_length=200)
    """`next` of the previous page."""
    limit: int = Field(default=100, ge=1, le=1_000)
    since: AwareDatetime | None = None
    """Only trials that have changed since then, by the master's clock."""

    def as_query(self) -> TrialQuery:
        """Convert it for the service."""
        return TrialQuery(**{name: getattr(self, name) for name in type(self).model_fields})


@router.post("/studies/{name}/trials", status_code=201, summary="Add configurations", responses=responses(404, 409))
@needs(Access.SUBMIT)
async def enqueue(services: ServicesOf, name: Name, body: EnqueueRequest) -> list[TrialView]:
    """Queue configurations; they run before the sampler's proposals and count against the budget."""
    return await services.database.awrite(
        lambda uow: trials.views(uow, manual_trials.enqueue(uow, name, body)), idempotent=False
    )


@router.get("/studies/{name}/trials", summary="List the trials of a study", responses=responses(404))
@needs(Access.READ)
async def list_trials(services: ServicesOf, name: Name, listing: Annotated[Listing, Query()]) -> Page[TrialView]:
    """Return one page of trials, filtered and sorted; trials without a value come last."""
    return await services.database.aread(lambda uow: trials.page(uow, name, listing.as_query()))


@router.get("/studies/{name}/configurations", summary="List configurations", responses=responses(404, 409))
@needs(Access.READ)
async def configurations(
    services: ServicesOf,
    name: Name,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Page[ConfigurationView]:
    """Return configurations of a study with `data.folds`, with their folds and mean; best complete ones first."""
    return await services.database.aread(lambda uow: trials.configurations(uow, name, cursor=cursor, limit=limit))


@router.get("/studies/{name}/trials/{number}", summary="Read a trial by its number", responses=responses(404))
@needs(Access.READ)
async def read_by_number(services: ServicesOf, name: Name, number: Number) -> TrialDetail:
    """Return the same as `GET /trials/{id}`."""
    return await services.database.aread(lambda uow: trials.by_number(uow, name, number))


@router.get("/trials/{trial_id}", summary="Read a trial", responses=responses(404))
@needs(Access.FETCH)
async def read(
    services: ServicesOf, trial_id: Id, max_points: Annotated[int, Query(ge=2, le=100_000)] = 1_000
) -> TrialDetail:
    """Return the trial with its learning curve (thinned to `max_points`), attempts and files."""
    return await services.database.aread(lambda uow: trials.read(uow, trial_id, max_points=max_points))


@router.get("/trials/{trial_id}/findings", summary="Read the findings of a trial", responses=responses(404))
@needs(Access.READ)
async def read_findings(services: ServicesOf, trial_id: Id) -> TrialFindings:
    """Return findings about one training so far, with evidence and remedies, read from its learning curves.

    Examples: it diverged, learns too slowly, overfits from some step on, or was too short. `unknown` states what is
    missing for more. Metrics are recognised by name: `train_loss`, `val_loss`, `train_accuracy`, `val_accuracy`.
    """
    return await diagnoses.read(services.database, services.blobs, trial_id=trial_id)
