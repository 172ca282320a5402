"""Stored files as responses."""

from __future__ import annotations

from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

CONTENT_RANGE = b"content-range"
_REFUSALS = {
    400: "The header `Range` is malformed: write `Range: bytes=FROM-TO`.",
    416: "The file has no such range of bytes.",
}


class Download(FileResponse):
    """A stored file; an invalid range is refused with a problem document."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file or the requested range; raises HTTPException before anything is sent."""

        async def checked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _REFUSALS:
                headers = {name.decode(): value.decode() for name, value in message["headers"] if name == CONTENT_RANGE}
                raise HTTPException(message["status"], _REFUSALS[message["status"]], headers)
            await send(message)

        await super().__call__(scope, receive, checked)
