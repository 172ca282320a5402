"""The ASGI middleware that counts requests and measures their duration."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunefleet_master.prometheus import PrometheusMetrics

CLIENT_LEFT = 499  # nginx's status for a client that disconnected before the response began


class Measure:
    """Counts and times requests by the path template of their route, so that names do not become labels."""

    def __init__(self, app: ASGIApp, metrics: PrometheusMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and measure it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_LEFT
        began = time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = getattr(scope.get("route"), "path", "") or "unknown"
            seconds = time.perf_counter() - began
            self._metrics.answered(scope["method"], route, status=status, seconds=seconds)
