"""The OpenAPI page as FastAPI makes it, with what it cannot be told by its own options."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from tunefleet_master.access import MAY
from tunefleet_master.api.auth_middleware import declared
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
        for name in _OF_FASTAPI:
            page["components"]["schemas"].pop(name, None)
        page["components"]["securitySchemes"] = {"token": SCHEME}
        for route in app.routes:
            if isinstance(route, APIRoute) and route.include_in_schema:
                _name_scopes(route, page["paths"][route.path_format])
        for item in page["paths"].values():
            for method, operation in item.items():
                _describe_answers(operation["responses"], has_body=method != "head")
                _add_refusals(operation)
        return page

    app.openapi = openapi  # type: ignore[method-assign]


def _name_scopes(route: APIRoute, item: dict[str, Any]) -> None:
    """Write the scopes that open a route into its operations; nothing is what everybody may do."""
    scopes = sorted(str(scope) for scope in MAY.get(declared(route), ()))
    for method in route.methods or ():
        item[method.lower()]["security"] = [{"token": scopes}] if scopes else []


def _add_refusals(operation: dict[str, Any]) -> None:
    """What the doors before every route say, and the reading of every body."""
    of_doors = (401, 403, 429) if operation["security"] else ()
    of_bodies = (400, 413, 415) if "requestBody" in operation else ()
    for status in (*of_doors, *of_bodies):
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
        operation["responses"].setdefault(str(status), {"description": HTTPStatus(status).phrase, "content": content})


def _describe_answers(responses: dict[str, Any], *, has_body: bool) -> None:
    """FastAPI puts the model of an error under the route's own media type; move it to where it belongs."""
    for response in responses.values():
        content = response.get("content", {})
        if MEDIA_TYPE in content and JSON in content:
            content[MEDIA_TYPE] = content.pop(JSON)
        if not has_body:
            response.pop("content", None)
