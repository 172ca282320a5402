"""ASGI middlewares before every handler: a limit on bodies, and security headers for browsers."""

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
    # Pictures of samples are embedded in the page as PNG data that the master created.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class BodyLimit:
    """Refuses bodies over the path's limit: first by `Content-Length`, then by counting the received bytes."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._default = settings.max_body_bytes
        self._larger = (
            (re.compile(rf"{API}/trials/[^/]+/artifacts/[^/]+"), settings.max_artifact_bytes),
            (re.compile(rf"{API}/bundles/[^/]+"), settings.max_bundle_bytes),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the received bytes."""
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
        """The maximum length of a body for this path, in bytes."""
        return next((limit for pattern, limit in self._larger if pattern.fullmatch(path)), self._default)


class SecurityHeaders:
    """Adds security headers to every response, so that a browser neither runs nor frames foreign content."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers that the response lacks."""

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add(MutableHeaders(scope=message), SECURITY_HEADERS.items())
            await send(message)

        await self._app(scope, receive, adding if scope["type"] == "http" else send)


def _add(headers: MutableHeaders, pairs: Iterable[tuple[str, str]]) -> None:
    for name, value in pairs:
        headers.setdefault(name, value)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit:,} bytes, the maximum here.")


def _counting(receive: Receive, limit: int) -> Receive:
    count = 0

    async def counted() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > limit:
            # FastAPI passes only its own exceptions through while it reads a body.
            raise HTTPException(413, _too_large(limit).message, {"Connection": "close"})
        return message

    return counted
