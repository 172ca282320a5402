"""The OpenAPI page as FastAPI makes it, with what it cannot be told by its own options."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI

from tunefleet_master.api.problems import MEDIA_TYPE

JSON = "application/json"
_OF_FASTAPI = ("HTTPValidationError", "ValidationError")  # described by default, and never sent by us


def describe(app: FastAPI) -> None:
    """Let the page say that errors are problem documents, and nothing of errors that are never sent."""
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
        return page

    app.openapi = openapi  # type: ignore[method-assign]


def _as_problem(content: dict[str, Any]) -> None:
    """FastAPI puts the model of an error under the route's own media type; move it to where it belongs."""
    if MEDIA_TYPE in content and JSON in content:
        content[MEDIA_TYPE] = content.pop(JSON)
