"""Events of a study, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from tunefleet.names import Name
from tunefleet.protocol import API, Event
from tunefleet_master.access import Access, needs
from tunefleet_master.api.long_poll import LongPoll
from tunefleet_master.api.problems import responses
from tunefleet_master.app_services import ServicesOf
from tunefleet_master.services.reading import events, studies
from tunefleet_master.storage.subscriptions import events_of
from tunefleet_master.storage.unit_of_work import UnitOfWork

BATCH = 500
FOREVER_S = 1e9

router = APIRouter(prefix=f"{API}/studies", tags=["studies"])

EventId = Annotated[int | None, Header(ge=0, lt=2**63)]


def _reader(study: str, last: int) -> Callable[[UnitOfWork], list[Event]]:
    return lambda uow: events.after(uow, study, last, limit=BATCH)


async def _existing(services: ServicesOf, name: Name) -> str:
    """The name of an existing study; read before the stream begins, while a 404 can still be sent."""
    return (await services.database.aread(lambda uow: studies.read(uow, name))).name


@router.get(
    "/{name}/events",
    summary="Follow a study",
    response_class=EventSourceResponse,
    responses=responses(404),
)
@needs(Access.READ)
async def follow(
    services: ServicesOf,
    request: Request,
    study: Annotated[str, Depends(_existing)],
    last_event_id: EventId = None,
    after: Annotated[int, Query(ge=0, lt=2**63, description="Begin after this event.")] = 0,
) -> AsyncIterable[ServerSentEvent]:
    """Stream every event of the study, from the beginning or after `Last-Event-ID` or `after`, and all new ones.

    `data` is the JSON of an Event. A comment is sent every 15 s. The stream ends when the master shuts down.
    """
    last = after if last_event_id is None else last_event_id
    with services.subscriptions.subscribe(events_of(study)) as subscription:
        async with LongPoll(request, services.closing, wait_s=FOREVER_S) as long_poll:
            while True:
                batch = await services.database.aread(_reader(study, last))
                for event in batch:
                    yield ServerSentEvent(id=str(event.id), event=event.kind, raw_data=event.model_dump_json())
                    last = event.id
                if services.closing.is_set() or (len(batch) < BATCH and not await long_poll.wait(subscription)):
                    return
