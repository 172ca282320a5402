"""The services of one master; `app.py` builds them, endpoints and pages receive them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from tunefleet.protocol import Directive
from tunefleet_master.prometheus import PrometheusMetrics
from tunefleet_master.services.access.token_cache import TokenCache
from tunefleet_master.services.execution.reports import Reported
from tunefleet_master.services.insights.insights import Insights
from tunefleet_master.settings import Settings
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.database import Database, Together
from tunefleet_master.storage.subscriptions import Subscriptions


@dataclass(frozen=True, slots=True)
class Services:
    """The objects that endpoints and pages may use."""

    settings: Settings
    database: Database
    blobs: BlobStore
    subscriptions: Subscriptions
    token_cache: TokenCache
    insights: Insights
    metrics: PrometheusMetrics
    record_reports: Together[Reported, Directive]
    """`reports.record` with the rung tables of this master."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the master begins to shut down; long polls and streams then end."""


def services_of(request: Request) -> Services:
    """Return the services of the master that serves the request."""
    return cast("Services", request.app.state.services)


async def _given(request: Request) -> Services:
    """Return the services. A coroutine, since FastAPI runs other dependencies on a thread, for every request."""
    return services_of(request)


ServicesOf = Annotated[Services, Depends(_given)]
