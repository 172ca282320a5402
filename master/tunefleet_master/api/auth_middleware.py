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
from tunefleet_master.api.rate_limits import RateLimit
from tunefleet_master.services.access.token_cache import TokenCache
from tunefleet_master.settings import Settings

HINT = "Send the header `Authorization: Bearer TOKEN`, or log in at /login."


def protect(app: FastAPI, settings: Settings) -> Authenticator:
    """Put a door before every route of the application; returns the authenticator of all of them.

    Raises LookupError when a route does not declare what it is for: better no master than an open one.
    """
    authenticator = Authenticator(Hosts(settings), RateLimit(settings.rate_limit))
    for index, route in enumerate(app.router.routes):
        assert isinstance(route, Route | Mount)
        guarded = copy.copy(route)  # the modules' own routes are shared by all applications of the process
        guarded.app = AuthMiddleware(route.app, declared(route), authenticator=authenticator)
        app.router.routes[index] = guarded
    return authenticator


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
class Authenticator:
    """Finds out who asks."""

    hosts: Hosts
    rates: RateLimit

    def authenticate(self, scope: Scope, token_cache: TokenCache, *, access: Access) -> Caller:
        """The caller, if they may pass.

        Raises:
            Unauthorized, Forbidden, HostNotAllowed, TooManyRequests.
        """
        caller = self._caller(scope, token_cache)
        is_named = caller is not NOBODY and caller is not ANYBODY
        self.rates.take(caller.name if is_named else _address(scope))
        if caller is NOBODY:
            if access not in OPEN:
                raise Unauthorized("The token is missing or wrong.", hint=HINT)
            self._check_page(scope, Headers(scope=scope), must_be_told=True)
        caller.check(access, scope["path_params"].get("trial_id"))
        return caller

    def _caller(self, scope: Scope, token_cache: TokenCache) -> Caller:
        headers = Headers(scope=scope)
        token = _bearer(headers)
        caller = None if token is None else token_cache.caller_of(token)
        if caller is not None:
            return caller  # no page of another site can know a token, by whatever name it reaches the master
        if token_cache.is_open:
            self._check_page(scope, headers, must_be_told=False)
            return ANYBODY
        if token is None and "cookie" in headers:
            connection = HTTPConnection(scope)
            caller = token_cache.caller_of_session(connection.cookies.get(session_cookie(connection), ""))
            if caller is not None:
                self._check_page(scope, headers, must_be_told=True)
                return caller
        return NOBODY

    def _check_page(self, scope: Scope, headers: Headers, *, must_be_told: bool) -> None:
        self.hosts.check(headers)
        check_origin(scope["method"], headers, must_be_told=must_be_told)


class AuthMiddleware:
    """Lets a request through to one route, and notes in the request's scope whose it is."""

    def __init__(self, app: ASGIApp, access: Access, *, authenticator: Authenticator) -> None:
        self._app = app
        self._access = access
        self._porter = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise what `Porter.admit` raises."""
        if self._access is not Access.PROBE:
            token_cache: TokenCache = scope["app"].state.services.token_cache
            scope["caller"] = self._porter.authenticate(scope, token_cache, access=self._access)
        await self._app(scope, receive, send)


def _bearer(headers: Headers) -> bytes | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return "an unknown address" if client is None else str(client[0])
