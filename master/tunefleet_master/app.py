"""Builds the parts of one master and wires them together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import version

from fastapi import FastAPI

from tunefleet.protocol import API
from tunefleet_master import data_folder
from tunefleet_master.api import problems
from tunefleet_master.api.limits import BodyLimit, SecurityHeaders, TokenCheck
from tunefleet_master.api.measure import Measure
from tunefleet_master.api.openapi import describe
from tunefleet_master.api.routes import build_router
from tunefleet_master.dashboard import pages
from tunefleet_master.parts import Parts
from tunefleet_master.services.planner import Planner
from tunefleet_master.services.sweeper import Sweeper
from tunefleet_master.services.wakeups import Wakeups
from tunefleet_master.settings import Settings
from tunefleet_master.storage import migrations
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.database import Database, Timing
from tunefleet_master.telemetry import Telemetry

RESTART_AFTER_S = 1.0

DESCRIPTION = """A self-hosted tuning service: users submit studies, workers claim trials, report metrics and end them.

Times are the master's own clock; lengths of time are seconds.
Numbers that JSON does not have are the strings `NaN`, `Infinity` and `-Infinity`.
Every error is an RFC 9457 problem document with a stable `code`."""

_log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """One master as an ASGI application; its database is opened when the lifespan begins.

    The lifespan raises StorageUnusable when the data folder or the database cannot be used.
    """
    telemetry = Telemetry(version=version("tunefleet"))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _running(settings, telemetry) as app.state.parts:
            yield

    app = FastAPI(
        title="Tunefleet",
        version=version("tunefleet"),
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(build_router())
    describe(app)
    pages.install(app)
    problems.install(app, pages.problem_page)
    app.add_middleware(BodyLimit, settings=settings)
    if settings.token is not None:
        app.add_middleware(TokenCheck, token=settings.token)
    app.add_middleware(Measure, telemetry=telemetry)
    app.add_middleware(SecurityHeaders)
    return app


@asynccontextmanager
async def _running(settings: Settings, telemetry: Telemetry) -> AsyncIterator[Parts]:
    """The parts of a master with its background tasks; all of it ends with the context."""
    async with AsyncExitStack() as stack:
        data_folder.prepare(settings.data)
        stack.enter_context(data_folder.locked(settings.lock_file))
        parts = _build(settings, telemetry)
        stack.callback(parts.database.close)
        upgraded = migrations.upgrade(parts.database.engine)
        if upgraded.before != upgraded.after:
            _log.info("the database was brought to revision %s", upgraded.after)
        parts.blobs.remove_stale_partials()
        sweeper = Sweeper(parts.database, parts.blobs.delete, sweep_s=settings.sweep_s)
        planner = Planner(parts.database, parts.wakeups)
        for name, run in (("sweeper", sweeper.run), ("planner", planner.run)):
            stack.push_async_callback(_stop, asyncio.create_task(_keep_running(name, run), name=name))
        stack.callback(parts.closing.set)
        yield parts


def _build(settings: Settings, telemetry: Telemetry) -> Parts:
    wakeups = Wakeups()
    return Parts(
        settings=settings,
        blobs=BlobStore(settings.data / "artifacts"),
        database=Database(
            settings.database_url, timing=Timing(settings.lease_s, settings.heartbeat_s), publish=wakeups.publish
        ),
        wakeups=wakeups,
        telemetry=telemetry,
    )


async def _keep_running(name: str, run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception:
            _log.exception("the %s failed; starting it again", name)
        await asyncio.sleep(RESTART_AFTER_S)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
