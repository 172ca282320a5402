"""The objects that one master is made of; `app.py` builds them, endpoints and pages are handed them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Request

from tunefleet.protocol import Directive
from tunefleet_master.services import reports
from tunefleet_master.services.insights import Insights
from tunefleet_master.services.keyring import Keyring
from tunefleet_master.services.pruning import RungBooks
from tunefleet_master.services.reports import Reported
from tunefleet_master.services.wakeups import Wakeups
from tunefleet_master.settings import Settings
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.database import Database, Together
from tunefleet_master.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Parts:
    """What a handler may use."""

    settings: Settings
    database: Database
    blobs: BlobStore
    wakeups: Wakeups
    keyring: Keyring
    insights: Insights
    telemetry: Telemetry
    record_reports: Together[Reported, Directive] = field(
        default_factory=lambda: partial(reports.record, books=RungBooks())
    )
    """Takes in reports, with what pruners compare them with; one for the whole life of the master."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the master begins to shut down; whoever waits for something ends then."""


def parts_of(request: Request) -> Parts:
    """The parts of the master that serves the request."""
    return cast("Parts", request.app.state.parts)


async def _given(request: Request) -> Parts:
    """As a coroutine: what is not one, FastAPI runs on a thread, for every request anew."""
    return parts_of(request)


PartsOf = Annotated[Parts, Depends(_given)]
