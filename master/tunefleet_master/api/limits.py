"""ASGI middlewares before every handler: how much may come in, what a browser may do with an answer."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunefleet.errors import TooLarge
from tunefleet.protocol import API
from tunefleet_master.api import problems
from tunefleet_master.settings import Settings

SECURITY_HEADERS = {
    # Pictures of samples stand in the page itself, as PNG that the master has made.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class BodyLimit:
    """Refuses bodies over the path's limit: by `Content-Length` before anything is read, and by counting."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._default = settings.max_body_bytes
        self._larger = (
            (re.compile(rf"{API}/trials/[^/]+/artifacts/[^/]+"), settings.max_artifact_bytes),
            (re.compile(rf"{API}/bundles/[^/]+"), settings.max_bundle_bytes),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what comes in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self.limit(scope["path"])
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            response = problems.answer(problems.document(_too_large(limit)), {"Connection": "close"})
            await response(scope, receive, send)
            return
        await self._app(scope, _counting(receive, limit), send)

    def limit(self, path: str) -> int:
        """How many bytes a body for this path may have."""
        return next((limit for pattern, limit in self._larger if pattern.fullmatch(path)), self._default)


class SecurityHeaders:
    """Puts the headers on every answer that keep a browser from running or framing what the master did not write."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers that are not there yet."""

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add(MutableHeaders(scope=message), SECURITY_HEADERS.items())
            await send(message)

        await self._app(scope, receive, adding if scope["type"] == "http" else send)


def _add(headers: MutableHeaders, pairs: Iterable[tuple[str, str]]) -> None:
    for name, value in pairs:
        headers.setdefault(name, value)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than the {limit:,} bytes that are accepted here.")


def _counting(receive: Receive, limit: int) -> Receive:
    count = 0

    async def counted() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > limit:
            # FastAPI lets only its own kind of exception through while it reads a body.
            raise HTTPException(413, _too_large(limit).message, {"Connection": "close"})
        return message

    return counted
