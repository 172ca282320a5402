"""Routes that workers call all the time: a good request is served without FastAPI's general machinery.

Reading the arguments, checking the answer and three layers of error handling cost more than the work of a report. So a
good request to such a route goes straight from its body to the function and from the function's answer to JSON. What
is not plainly good is given to FastAPI whole, which refuses it as it does everywhere; so do the OpenAPI page's words
about the route come from FastAPI.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunefleet_master.parts import Parts

MAX_ID_DIGITS = 9  # each such number is a good id; of longer ones FastAPI judges


class HotRoute(APIRoute):
    """A POST whose function takes a message and gives one; `parts`, `request` and `trial_id` if it asks for them."""

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[BaseModel]], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.app = _Shortcut(endpoint, otherwise=self.app)


class _Shortcut:
    def __init__(self, endpoint: Callable[..., Awaitable[BaseModel]], *, otherwise: ASGIApp) -> None:
        arguments = inspect.signature(endpoint, eval_str=True).parameters
        self._endpoint = endpoint
        self._otherwise = otherwise
        self._message, self._model = next(
            (name, argument.annotation)
            for name, argument in arguments.items()
            if inspect.isclass(argument.annotation) and issubclass(argument.annotation, BaseModel)
        )
        self._takes_request = "request" in arguments
        self._takes_id = "trial_id" in arguments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received = await _all_of(receive)
        arguments = self._arguments(scope, received)
        if arguments is None:
            await self._otherwise(scope, _again(received, receive), send)
            return
        if self._takes_request:
            arguments["request"] = Request(scope, receive)
        answer = await self._endpoint(**arguments)
        body = answer.__pydantic_serializer__.to_json(answer, by_alias=True)
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _arguments(self, scope: Scope, received: list[Message]) -> dict[str, Any] | None:
        """What the function is called with; None when the request is not plainly good."""
        if received[-1]["type"] != "http.request" or not _is_json(scope):
            return None
        parts: Parts = scope["app"].state.parts
        arguments: dict[str, Any] = {"parts": parts}
        if self._takes_id:
            digits: str = scope["path_params"]["trial_id"]
            if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_ID_DIGITS):
                return None
            arguments["trial_id"] = int(digits)
        try:
            plain = json.loads(b"".join(message.get("body", b"") for message in received))
            arguments[self._message] = self._model.__pydantic_validator__.validate_python(plain)
        except (ValidationError, ValueError, RecursionError):
            return None
        return arguments


async def _all_of(receive: Receive) -> list[Message]:
    """The messages of a request's body, or up to the client's leaving."""
    received = [await receive()]
    while received[-1].get("more_body", False):
        received.append(await receive())
    return received


def _again(received: list[Message], receive: Receive) -> Receive:
    """The same messages once more, and then what comes."""
    waiting = iter(received)

    async def repeated() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    return repeated


def _is_json(scope: Scope) -> bool:
    return Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower() == "application/json"
