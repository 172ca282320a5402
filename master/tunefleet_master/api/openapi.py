"""The OpenAPI page as FastAPI makes it, with what it cannot be told by its own options."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from tunefleet_master.access import MAY
from tunefleet_master.api.doors import declared
from tunefleet_master.api.problems import MEDIA_TYPE

JSON = "application/json"
_OF_FASTAPI = ("HTTPValidationError", "ValidationError")  # described by default, and never sent by us


SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token; on a master that has none, nothing is asked for.",
}


def describe(app: FastAPI) -> None:
    """Let the page say that errors are problem documents, nothing of errors that are never sent, and who may what."""
    original = app.openapi

    @cache
    def openapi() -> dict[str, Any]:
        page = original()
        for item in page["paths"].values():
            for operation in item.values():
                for response in operation.get("responses", {}).values():
                    _as_problem(response.get("content", {}))
        for name in _OF_FASTAPI:
            page["components"]["schemas"].pop(name, None)
        page["components"]["securitySchemes"] = {"token": SCHEME}
        for route in app.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                _name_scopes(route, page["paths"][route.path_format])
        return page

    app.openapi = openapi  # type: ignore[method-assign]


def _name_scopes(route: APIRoute, item: dict[str, Any]) -> None:
    """Write the scopes that open a route into its operations; nothing is what everybody may do."""
    scopes = sorted(str(scope) for scope in MAY.get(declared(route), ()))
    for method in route.methods or ():
        item[method.lower()]["security"] = [{"token": scopes}] if scopes else []


def _as_problem(content: dict[str, Any]) -> None:
    """FastAPI puts the model of an error under the route's own media type; move it to where it belongs."""
    if MEDIA_TYPE in content and JSON in content:
        content[MEDIA_TYPE] = content.pop(JSON)
