"""The way of the calls that workers send all the time: past the machinery that every other request goes through.

Nine middlewares, matching routes, reading arguments and checking the answer cost several times what the work of a
report does. So a request that is plainly good goes from its body to the function and from the function's answer to
JSON in one step, which counts, limits, admits and protects it as the others are. What is not plainly good is given to
the application whole, which refuses it as it does everywhere; so do the OpenAPI page's words about these routes come
from FastAPI.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunefleet.errors import TunefleetError
from tunefleet_master.access import Access
from tunefleet_master.api import problems
from tunefleet_master.api.auth_middleware import Authenticator, declared
from tunefleet_master.api.limits import SECURITY_HEADERS, SecurityHeaders
from tunefleet_master.api.measure import CLIENT_LEFT
from tunefleet_master.app_services import Services

MAX_ID_DIGITS = 9  # each such number is a good id; of longer ones FastAPI judges
ID = "{trial_id}"
_HEADERS = [(b"content-type", b"application/json")] + [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]


class FastPathRoute(APIRoute):
    """A POST whose function takes a message and gives one; `services`, `request` and `trial_id` if it asks for them."""


@dataclass(frozen=True, slots=True)
class FastRoute:
    """One route, as the express sees it.

    Attributes:
        path: its template, which the measurements name it by.
        access: what it is for.
        endpoint: its function.
        message: the name of the argument that is the body.
        model: the body's type.
        takes_request: whether the function asks for the request.
    """

    path: str
    access: Access
    endpoint: Callable[..., Awaitable[BaseModel]]
    message: str
    model: type[BaseModel]
    takes_request: bool

    @classmethod
    def of(cls, route: FastPathRoute) -> FastRoute:
        """What a route declares."""
        arguments = inspect.signature(route.endpoint, eval_str=True).parameters
        message, model = next(
            (name, argument.annotation)
            for name, argument in arguments.items()
            if inspect.isclass(argument.annotation) and issubclass(argument.annotation, BaseModel)
        )
        return cls(route.path, declared(route), route.endpoint, message, model, "request" in arguments)


class FastPath:
    """Serves the application's express routes, and hands everything else to the application.

    Args:
        app: with all of its routes.
        otherwise: the application's own way, with all of its middlewares.
        authenticator: the one who stands before all routes.
        max_body_bytes: of a request.
    """

    def __init__(self, app: FastAPI, otherwise: ASGIApp, *, authenticator: Authenticator, max_body_bytes: int) -> None:
        stops = [FastRoute.of(route) for route in app.router.routes if isinstance(route, FastPathRoute)]
        self._plain = {stop.path: stop for stop in stops if ID not in stop.path}
        self._of_trial = {tuple(stop.path.split(ID)): stop for stop in stops if ID in stop.path}
        self._otherwise = otherwise
        self._porter = authenticator
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request if it is plainly good and for one of the routes."""
        stop = self._stop(scope)
        if stop is None or not self._may_be_read(scope):
            await self._otherwise(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        began = time.perf_counter()
        try:
            scope["caller"] = self._porter.authenticate(scope, services.token_cache, access=stop.access)
        except TunefleetError:  # the application refuses them again, in its own words
            await self._otherwise(scope, receive, send)
            return
        received = await _all_of(receive)
        body = _body(received, stop.model)
        if body is None:
            await self._otherwise(scope, _again(received, receive), send)
            return
        status = CLIENT_LEFT
        try:
            status = await _serve(stop, body, Request(scope, receive), send)
        finally:
            services.metrics.answered("POST", stop.path, status=status, seconds=time.perf_counter() - began)

    def _stop(self, scope: Scope) -> FastRoute | None:
        """The route that a request is for, with the trial's id noted in the scope; None: the application finds it."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path: str = scope["path"]
        scope["path_params"] = {}
        if (stop := self._plain.get(path)) is not None:
            return stop
        head, _, rest = path.rpartition("/trials/")
        digits, slash, verb = rest.partition("/")
        stop = self._of_trial.get((head + "/trials/", slash + verb))
        if stop is None or not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_ID_DIGITS):
            return None
        scope["path_params"]["trial_id"] = digits
        return stop

    def _may_be_read(self, scope: Scope) -> bool:
        """Whether the body is declared as JSON of an allowed length, which the server then holds it to."""
        kind = length = b""
        for name, value in scope["headers"]:
            if name == b"content-type":
                kind = kind or value
            elif name == b"content-length":
                length = length or value
        is_json = kind.partition(b";")[0].strip().lower() == b"application/json"
        return is_json and length.isdigit() and int(length) <= self._max_body_bytes


async def _serve(stop: FastRoute, body: BaseModel, request: Request, send: Send) -> int:
    """Call the function and send what it gives; the status."""
    arguments: dict[str, Any] = {"services": request.app.state.services, stop.message: body}
    if stop.takes_request:
        arguments["request"] = request
    if (digits := request.path_params.get("trial_id")) is not None:
        arguments["trial_id"] = int(digits)
    try:
        answer = await stop.endpoint(**arguments)
    except TunefleetError as error:
        return await _refuse(problems.refusal(request, error), request, send)
    except Exception:
        await _refuse(problems.unexpected(request), request, send)
        raise
    content = answer.__pydantic_serializer__.to_json(answer, by_alias=True)
    headers = [(b"content-length", b"%d" % len(content)), *_HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
    return 200


async def _refuse(response: Response, request: Request, send: Send) -> int:
    await SecurityHeaders(response)(request.scope, request.receive, send)
    return response.status_code


def _body(received: list[Message], model: type[BaseModel]) -> BaseModel | None:
    """The message in a body; None when it is not plainly good."""
    if received[-1]["type"] != "http.request":
        return None
    try:
        plain = json.loads(received[0]["body"] if len(received) == 1 else b"".join(part["body"] for part in received))
        read: BaseModel = model.__pydantic_validator__.validate_python(plain)
    except (ValidationError, ValueError, RecursionError):
        return None
    return read


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
