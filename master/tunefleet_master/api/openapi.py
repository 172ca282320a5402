"""The OpenAPI document from FastAPI, with additions that FastAPI has no options for."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from tunefleet_master.access import GRANTED_BY
from tunefleet_master.api.auth_middleware import declared
from tunefleet_master.api.problems import MEDIA_TYPE

JSON = "application/json"
_OF_FASTAPI = ("HTTPValidationError", "ValidationError")  # FastAPI documents them, but the master never sends them


SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token. A master without tokens asks for none.",
}


def describe(app: FastAPI) -> None:
    """Add problem documents and the scopes of routes to the OpenAPI document, and remove errors that are never sent."""
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
    """Write the scopes that grant access to a route into its operations; a public route has none."""
    scopes = sorted(str(scope) for scope in GRANTED_BY.get(declared(route), ()))
    for method in route.methods or ():
        item[method.lower()]["security"] = [{"token": scopes}] if scopes else []


def _add_refusals(operation: dict[str, Any]) -> None:
    """Add the refusals of the auth middleware and of the body parser."""
    of_auth = (401, 403, 429) if operation["security"] else ()
    of_bodies = (400, 413, 415) if "requestBody" in operation else ()
    for status in (*of_auth, *of_bodies):
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
        operation["responses"].setdefault(str(status), {"description": HTTPStatus(status).phrase, "content": content})


def _describe_answers(responses: dict[str, Any], *, has_body: bool) -> None:
    """Move the model of an error from the route's media type, where FastAPI puts it, to its own media type."""
    for response in responses.values():
        content = response.get("content", {})
        if MEDIA_TYPE in content and JSON in content:
            content[MEDIA_TYPE] = content.pop(JSON)
        if not has_body:
            response.pop("content", None)
