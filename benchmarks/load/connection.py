"""A keep-alive connection that costs the load generator as little as Python allows."""

from __future__ import annotations

import asyncio
from typing import cast
from urllib.parse import urlsplit


class BadAnswer(Exception):
    """The server answered with an error, or closed the connection."""


class Connection(asyncio.Protocol):
    """One request at a time over one connection. Build it with `Connection.open`."""

    def __init__(self, host: str, token: str | None) -> None:
        shown = f"Authorization: Bearer {token}\r\n" if token else ""
        self._headers = f"Host: {host}\r\nContent-Type: application/json\r\n{shown}"
        self._received = b""
        self._length: int | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, url: str, token: str | None) -> Connection:
        """Open a connection to the server at this URL; every request carries the token."""
        place = urlsplit(url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: cls(place.netloc, token), place.hostname or "", place.port or 80
        )
        return connection

    async def post(self, path: str, body: bytes) -> bytes:
        """Send JSON and return the body of the answer. Raises BadAnswer unless the status is 2xx."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        head = f"POST {path} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect an answer; resolve the waiting request when it is complete."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self._received = b""
        if head[9:10] == b"2":
            self._settle(body)
        else:
            self._settle(BadAnswer((head.partition(b"\r\n")[0] + b" " + body).decode(errors="replace")))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the waiting request."""
        self._settle(BadAnswer("the server hung up"))

    def _settle(self, answer: bytes | BadAnswer) -> None:
        waiting, self._answer = self._answer, None
        if waiting is None or waiting.done():
            return
        if isinstance(answer, BadAnswer):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
