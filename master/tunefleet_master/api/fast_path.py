"""The fast path for frequent requests of workers, which skips FastAPI's middlewares, routing and validation.

Nine middlewares, route matching, argument parsing and response validation cost several times the work of a report.
So a valid request goes from its body to the endpoint, and from the endpoint's result to JSON, in one step. The fast
path also authenticates, limits, measures and adds security headers. Every other request goes to the application, so
all refusals and the OpenAPI document come from FastAPI.
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

MAX_ID_DIGITS = 9  # every number of this length is a valid id; FastAPI validates longer ones
ID = "{trial_id}"
_HEADERS = [(b"content-type", b"application/json")] + [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]


class FastPathRoute(APIRoute):
    """A POST route with a message as body and response; its endpoint may take `services`, `request` and `trial_id`."""


@dataclass(frozen=True, slots=True)
class FastRoute:
    """One route, as the fast path needs it.

    Attributes:
        path: its template, the label of the metrics.
        access: the access that it declares.
        endpoint: its function.
        message: the name of the body's argument.
        model: the body's type.
        takes_request: True if the function takes the request.
    """

    path: str
    access: Access
    endpoint: Callable[..., Awaitable[BaseModel]]
    message: str
    model: type[BaseModel]
    takes_request: bool

    @classmethod
    def of(cls, route: FastPathRoute) -> FastRoute:
        """Read the declarations of a route."""
        arguments = inspect.signature(route.endpoint, eval_str=True).parameters
        message, model = next(
            (name, argument.annotation)
            for name, argument in arguments.items()
            if inspect.isclass(argument.annotation) and issubclass(argument.annotation, BaseModel)
        )
        return cls(route.path, declared(route), route.endpoint, message, model, "request" in arguments)


class FastPath:
    """Serves the fast routes, and passes everything else to the application.

    Args:
        app: the application with all of its routes.
        fallback: the application with all of its middlewares.
        authenticator: the authenticator of all routes.
        max_body_bytes: the maximum length of a body.
    """

    def __init__(self, app: FastAPI, fallback: ASGIApp, *, authenticator: Authenticator, max_body_bytes: int) -> None:
        routes = [FastRoute.of(route) for route in app.router.routes if isinstance(route, FastPathRoute)]
        self._by_path = {route.path: route for route in routes if ID not in route.path}
        self._by_trial_path = {tuple(route.path.split(ID)): route for route in routes if ID in route.path}
        self._fallback = fallback
        self._authenticator = authenticator
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request if it is valid and for a fast route."""
        route = self._match(scope)
        if route is None or not self._declares_json(scope):
            await self._fallback(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        began = time.perf_counter()
        try:
            scope["caller"] = self._authenticator.authenticate(scope, services.token_cache, access=route.access)
        except TunefleetError:  # the application refuses it again and sends the problem document
            await self._fallback(scope, receive, send)
            return
        received = await _read_body(receive)
        body = _parse(received, route.model)
        if body is None:
            await self._fallback(scope, _replayed(received, receive), send)
            return
        status = CLIENT_LEFT
        try:
            status = await _serve(route, body, Request(scope, receive), send)
        finally:
            services.metrics.answered("POST", route.path, status=status, seconds=time.perf_counter() - began)

    def _match(self, scope: Scope) -> FastRoute | None:
        """The route of a request, with the trial's id stored in the scope; None: it is for the application."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path: str = scope["path"]
        scope["path_params"] = {}
        if (route := self._by_path.get(path)) is not None:
            return route
        head, _, rest = path.rpartition("/trials/")
        digits, slash, verb = rest.partition("/")
        route = self._by_trial_path.get((head + "/trials/", slash + verb))
        if route is None or not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_ID_DIGITS):
            return None
        scope["path_params"]["trial_id"] = digits
        return route

    def _declares_json(self, scope: Scope) -> bool:
        """True if the headers declare JSON of an allowed length; the server enforces the declared length."""
        kind = length = b""
        for name, value in scope["headers"]:
            if name == b"content-type":
                kind = kind or value
            elif name == b"content-length":
                length = length or value
        is_json = kind.partition(b";")[0].strip().lower() == b"application/json"
        return is_json and length.isdigit() and int(length) <= self._max_body_bytes


async def _serve(route: FastRoute, body: BaseModel, request: Request, send: Send) -> int:
    """Call the endpoint and send its result; return the status."""
    arguments: dict[str, Any] = {"services": request.app.state.services, route.message: body}
    if route.takes_request:
        arguments["request"] = request
    if (digits := request.path_params.get("trial_id")) is not None:
        arguments["trial_id"] = int(digits)
    try:
        answer = await route.endpoint(**arguments)
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


def _parse(received: list[Message], model: type[BaseModel]) -> BaseModel | None:
    """The message in a body; None if it is not valid."""
    if received[-1]["type"] != "http.request":
        return None
    try:
        plain = json.loads(received[0]["body"] if len(received) == 1 else b"".join(part["body"] for part in received))
        read: BaseModel = model.__pydantic_validator__.validate_python(plain)
    except (ValidationError, ValueError, RecursionError):
        return None
    return read


async def _read_body(receive: Receive) -> list[Message]:
    """The messages of a request's body, up to its end or the client's disconnect."""
    received = [await receive()]
    while received[-1].get("more_body", False):
        received.append(await receive())
    return received


def _replayed(received: list[Message], receive: Receive) -> Receive:
    """A `receive` that repeats these messages and then continues with the original."""
    waiting = iter(received)

    async def repeated() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    return repeated
