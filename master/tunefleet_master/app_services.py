"""The objects that one master is made of; `app.py` builds them, endpoints and pages are handed them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Request

from tunefleet.protocol import Directive
from tunefleet_master.prometheus import PrometheusMetrics
from tunefleet_master.services.access.token_cache import TokenCache
from tunefleet_master.services.execution import reports
from tunefleet_master.services.execution.early_stopping import RungTables
from tunefleet_master.services.execution.reports import Reported
from tunefleet_master.services.insights.insights import Insights
from tunefleet_master.settings import Settings
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.database import Database, Together
from tunefleet_master.storage.subscriptions import Subscriptions


@dataclass(frozen=True, slots=True)
class Services:
    """What a handler may use."""

    settings: Settings
    database: Database
    blobs: BlobStore
    subscriptions: Subscriptions
    token_cache: TokenCache
    insights: Insights
    metrics: PrometheusMetrics
    record_reports: Together[Reported, Directive] = field(
        default_factory=lambda: partial(reports.record, tables=RungTables())
    )
    """Takes in reports, with what pruners compare them with; one for the whole life of the master."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the master begins to shut down; whoever waits for something ends then."""


def services_of(request: Request) -> Services:
    """The services of the master that serves the request."""
    return cast("Services", request.app.state.services)


async def _given(request: Request) -> Services:
    """As a coroutine: what is not one, FastAPI runs on a thread, for every request anew."""
    return services_of(request)


ServicesOf = Annotated[Services, Depends(_given)]
