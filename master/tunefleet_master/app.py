"""The application of one master: its services are built and wired here."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI

from tunefleet.protocol import API
from tunefleet_master import data_folder
from tunefleet_master.api import problems
from tunefleet_master.api.auth_middleware import protect
from tunefleet_master.api.fast_path import FastPath
from tunefleet_master.api.limits import BodyLimit, SecurityHeaders
from tunefleet_master.api.measure import Measure
from tunefleet_master.api.openapi import describe
from tunefleet_master.api.routes import ROUTERS
from tunefleet_master.app_services import Services
from tunefleet_master.dashboard import pages
from tunefleet_master.prometheus import PrometheusMetrics
from tunefleet_master.search.plugins import load_plugins
from tunefleet_master.services.access import tokens
from tunefleet_master.services.access.token_cache import TokenCache
from tunefleet_master.services.execution import reports
from tunefleet_master.services.execution.early_stopping import RungTables
from tunefleet_master.services.execution.sweeper import Sweeper
from tunefleet_master.services.insights.insights import Insights
from tunefleet_master.services.planning.planner import Observe, Planner, StudyFolds
from tunefleet_master.services.planning.racing import Races
from tunefleet_master.services.planning.sampler_process import SamplerProcess
from tunefleet_master.services.planning.sampling import LearningProposer
from tunefleet_master.settings import Settings
from tunefleet_master.storage import migrations
from tunefleet_master.storage.blobs import BlobStore
from tunefleet_master.storage.database import Database, Timing
from tunefleet_master.storage.locks import StudyLocks
from tunefleet_master.storage.observer import CompositeObserver, Observer
from tunefleet_master.storage.subscriptions import Subscriptions

if TYPE_CHECKING:
    from tunefleet_master.tracing import Traces

RESTART_AFTER_S = 1.0
TRACE_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

DESCRIPTION = """A self-hosted tuning service: users submit studies; workers claim trials, report metrics and end them.

Times are by the master's clock; durations are in seconds.
Numbers that JSON cannot express are the strings `NaN`, `Infinity` and `-Infinity`.
Every error is an RFC 9457 problem document with a stable `code`."""

_log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """Return one master as an ASGI application; its lifespan opens the database.

    The lifespan raises StorageUnusable when the data folder or the database cannot be used. It sets
    `app.state.first_token` to the admin token that it created because none existed, or to None.
    """
    metrics = PrometheusMetrics(version=version("tunefleet"))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _running(settings, metrics, traces) as app.state.services:
            app.state.first_token = await _first_token(app.state.services)
            yield

    app = FastAPI(
        title="Tunefleet",
        version=version("tunefleet"),
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # tracing.py and prometheus.py do this
    )
    for router in ROUTERS:
        app.router.routes.extend(router.routes)  # flat: an included router would match each request twice
    describe(app)
    pages.install(app)
    authenticator = protect(app, settings)
    problems.install(app, pages.problem_page)
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(Measure, metrics=metrics)
    app.add_middleware(SecurityHeaders)
    traces = _traces(app)
    if traces is None:  # traces miss requests that bypass their middleware
        stack = app.build_middleware_stack()
        app.middleware_stack = FastPath(app, stack, authenticator=authenticator, max_body_bytes=settings.max_body_bytes)
    return app


def _traces(app: FastAPI) -> Traces | None:
    """Return the traces if the environment names an OpenTelemetry endpoint for them; None otherwise."""
    if not any(os.environ.get(name) for name in TRACE_ENDPOINTS):
        return None
    try:
        from tunefleet_master import tracing
    except ModuleNotFoundError as error:
        _log.warning("no traces: %s is not installed; pip install 'tunefleet[telemetry]' brings it", error.name)
        return None
    return tracing.install(app, os.environ)


@asynccontextmanager
async def _running(settings: Settings, metrics: PrometheusMetrics, traces: Traces | None) -> AsyncIterator[Services]:
    """Yield the services of a master with its background tasks running; all end with the context."""
    async with AsyncExitStack() as stack:
        data_folder.prepare(settings.data)
        stack.enter_context(data_folder.locked(settings.lock_file))
        if traces is not None:
            stack.callback(traces.close)
        services = _build(settings, metrics, CompositeObserver(metrics, traces) if traces else metrics)
        stack.callback(services.database.close)
        upgraded = migrations.upgrade(services.database.engine)
        if upgraded.before != upgraded.after:
            _log.info("the database was upgraded to revision %s", upgraded.after)
        services.blobs.remove_stale_partials()
        load_plugins()
        await services.token_cache.load()
        sweeper = Sweeper(
            services.database,
            services.blobs.delete,
            sweep_s=settings.sweep_s,
            keep_curves_days=settings.keep_curves_days,
        )
        planner = build_planner(services.database, services.subscriptions, observe=metrics.proposed)
        for name, run in (
            ("sweeper", sweeper.run),
            ("planner", planner.run),
            ("token_cache", services.token_cache.run),
            ("analyst", services.insights.run),
        ):
            stack.push_async_callback(_stop, asyncio.create_task(_keep_running(name, run), name=name))
        stack.callback(services.closing.set)
        yield services


def _build(settings: Settings, metrics: PrometheusMetrics, observer: Observer) -> Services:
    subscriptions = Subscriptions()
    database = Database(
        settings.database_url,
        timing=Timing(settings.lease_s, settings.heartbeat_s),
        publish=subscriptions.publish,
        observer=observer,
    )
    return Services(
        settings=settings,
        blobs=BlobStore(settings.data / "artifacts"),
        database=database,
        subscriptions=subscriptions,
        token_cache=TokenCache(database, subscriptions, given=settings.token, is_local=settings.is_local),
        insights=Insights(database, subscriptions),
        metrics=metrics,
        record_reports=partial(reports.record, tables=RungTables()),
    )


def build_planner(database: Database, subscriptions: Subscriptions, *, observe: Observe) -> Planner:
    """Return the planner of a master, with a sampler process and study locks of its own."""
    return Planner(
        database,
        subscriptions,
        locks=StudyLocks(database.engine),
        proposer=LearningProposer(database, SamplerProcess()),
        folds=StudyFolds(RungTables(), Races()),
        observe=observe,
    )


async def _first_token(services: Services) -> str | None:
    """Create an admin token if the master is reachable from outside and no token exists; it is shown once."""
    if services.settings.is_local or services.token_cache.admin_is_given:
        return None
    made = await services.database.awrite(tokens.first, idempotent=False)
    await services.token_cache.load()
    return None if made is None else made.token


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
