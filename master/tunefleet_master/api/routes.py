"""All endpoints in one router."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from tunefleet_master.api import (
    artifacts,
    bundles,
    claims,
    endings,
    events,
    health,
    heartbeats,
    metrics,
    reports,
    schema,
    status,
    studies,
    trials,
    workers,
)

_bearer = HTTPBearer(auto_error=False, description="The master's token, when it was started with one.")


def _described(credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None) -> None:
    """Names the scheme in the OpenAPI document; the check itself stands before every handler (`limits.TokenCheck`)."""


def build_router() -> APIRouter:
    """The API of one master."""
    router = APIRouter()
    for module in (
        studies,
        trials,
        claims,
        heartbeats,
        reports,
        endings,
        artifacts,
        bundles,
        events,
        workers,
        status,
        schema,
    ):
        router.include_router(module.router, dependencies=[Security(_described)])
    router.include_router(health.router)
    router.include_router(metrics.router)
    return router
