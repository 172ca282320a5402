"""All endpoints of the API, in the order in which a request is compared with them."""

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

# What workers send comes first, since it comes a thousand times as often.
ROUTERS = tuple(
    module.router
    for module in (
        *(reports, heartbeats, claims, completion, artifacts),
        *(studies, trials, telemetry, bundles, events, findings, looks, workers, status, schema, tokens),
        *(health, metrics),
    )
)
