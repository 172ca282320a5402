"""The door before every route: who asks, may they, and do they ask too often."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tunefleet.errors import Unauthorized
from tunefleet_master.access import ANYBODY, NOBODY, OPEN, Access, Caller, access_of, session_cookie
from tunefleet_master.api.hosts import Hosts, check_origin
from tunefleet_master.api.rates import RateLimit
from tunefleet_master.services.keyring import Keyring
from tunefleet_master.settings import Settings

HINT = "Send the header `Authorization: Bearer TOKEN`, or log in at /login."


def protect(app: FastAPI, settings: Settings) -> Porter:
    """Put a door before every route of the application; returns the porter of all of them.

    Raises LookupError when a route does not declare what it is for: better no master than an open one.
    """
    porter = Porter(Hosts(settings), RateLimit(settings.rate_limit))
    for index, route in enumerate(app.router.routes):
        assert isinstance(route, Route | Mount)
        guarded = copy.copy(route)  # the modules' own routes are shared by all applications of the process
        guarded.app = Door(route.app, declared(route), porter=porter)
        app.router.routes[index] = guarded
    return porter


def declared(route: BaseRoute) -> Access:
    """What a route says that it is for; raises LookupError when it says nothing."""
    if isinstance(route, Mount):  # the style and the script of the pages, the login page's too
        return Access.LOGIN
    if isinstance(route, Route):
        access = Access.READ if route.name == "openapi" else access_of(route.endpoint)
        if access is not None:
            return access
    raise LookupError(f"{route!r} does not declare its access: add @needs(Access....) below its decorator")


@dataclass(frozen=True, slots=True)
class Porter:
    """Finds out who asks."""

    hosts: Hosts
    rates: RateLimit

    def admit(self, scope: Scope, keyring: Keyring, *, access: Access) -> Caller:
        """The caller, if they may pass.

        Raises:
            Unauthorized, Forbidden, HostNotAllowed, TooManyRequests.
        """
        caller = self._caller(scope, keyring)
        is_named = caller is not NOBODY and caller is not ANYBODY
        self.rates.take(caller.name if is_named else _address(scope))
        if caller is NOBODY:
            if access not in OPEN:
                raise Unauthorized("The token is missing or wrong.", hint=HINT)
            self._check_page(scope, Headers(scope=scope), must_be_told=True)
        caller.check(access, scope["path_params"].get("trial_id"))
        return caller

    def _caller(self, scope: Scope, keyring: Keyring) -> Caller:
        headers = Headers(scope=scope)
        token = _bearer(headers)
        caller = None if token is None else keyring.caller_of(token)
        if caller is not None:
            return caller  # no page of another site can know a token, by whatever name it reaches the master
        if keyring.is_open:
            self._check_page(scope, headers, must_be_told=False)
            return ANYBODY
        if token is None and "cookie" in headers:
            connection = HTTPConnection(scope)
            caller = keyring.caller_of_session(connection.cookies.get(session_cookie(connection), ""))
            if caller is not None:
                self._check_page(scope, headers, must_be_told=True)
                return caller
        return NOBODY

    def _check_page(self, scope: Scope, headers: Headers, *, must_be_told: bool) -> None:
        self.hosts.check(headers)
        check_origin(scope["method"], headers, must_be_told=must_be_told)


class Door:
    """Lets a request through to one route, and notes in the request's scope whose it is."""

    def __init__(self, app: ASGIApp, access: Access, *, porter: Porter) -> None:
        self._app = app
        self._access = access
        self._porter = porter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise what `Porter.admit` raises."""
        if self._access is not Access.PROBE:
            keyring: Keyring = scope["app"].state.parts.keyring
            scope["caller"] = self._porter.admit(scope, keyring, access=self._access)
        await self._app(scope, receive, send)


def _bearer(headers: Headers) -> bytes | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return "an unknown address" if client is None else str(client[0])
