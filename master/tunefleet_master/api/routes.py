"""All endpoints of the API, in the order in which requests are matched."""

from __future__ import annotations

from tunefleet_master.api import (
    artifacts,
    bundles,
    claims,
    completion,
    events,
    findings,
    health,
    heartbeats,
    looks,
    metrics,
    reports,
    schema,
    status,
    studies,
    telemetry,
    tokens,
    trials,
    workers,
)

# Requests of workers come first, because they are a thousand times as frequent.
ROUTERS = tuple(
    module.router
    for module in (
        *(reports, heartbeats, claims, completion, artifacts),
        *(studies, trials, telemetry, bundles, events, findings, looks, workers, status, schema, tokens),
        *(health, metrics),
    )
)
