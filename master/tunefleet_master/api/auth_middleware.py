"""Auth middleware of every route: it authenticates the caller, checks access and limits the rate."""

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
    """Put an auth middleware before every route of the application; return the authenticator that all of them share.

    Raises LookupError when a route does not declare its access, so that no route is open by mistake.
    """
    authenticator = Authenticator(Hosts(settings), RateLimit(settings.rate_limit))
    for index, route in enumerate(app.router.routes):
        assert isinstance(route, Route | Mount)
        guarded = copy.copy(route)  # the modules' own routes are shared by all applications of the process
        guarded.app = AuthMiddleware(route.app, declared(route), authenticator=authenticator)
        app.router.routes[index] = guarded
    return authenticator


def declared(route: BaseRoute) -> Access:
    """The access that a route declares; raises LookupError when it declares none."""
    if isinstance(route, Mount):  # style sheet and script of the pages, which the login page needs as well
        return Access.LOGIN
    if isinstance(route, Route):
        access = Access.READ if route.name == "openapi" else access_of(route.endpoint)
        if access is not None:
            return access
    raise LookupError(f"{route!r} does not declare its access: add @needs(Access....) below its decorator")


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Finds the caller of a request and checks that it may pass."""

    hosts: Hosts
    rates: RateLimit

    def authenticate(self, scope: Scope, token_cache: TokenCache, *, access: Access) -> Caller:
        """Return the caller, if it has the access.

        Raises:
            Unauthorized, Forbidden, HostNotAllowed, TooManyRequests.
        """
        caller = self._caller(scope, token_cache)
        is_named = caller is not NOBODY and caller is not ANYBODY
        self.rates.take(caller.name if is_named else _address(scope))
        if caller is NOBODY:
            if access not in OPEN:
                raise Unauthorized("The token is missing or wrong.", hint=HINT)
            self._check_browser(scope, Headers(scope=scope), requires_origin=True)
        caller.check(access, scope["path_params"].get("trial_id"))
        return caller

    def _caller(self, scope: Scope, token_cache: TokenCache) -> Caller:
        headers = Headers(scope=scope)
        token = _bearer(headers)
        caller = None if token is None else token_cache.caller_of(token)
        if caller is not None:
            return caller  # no page of another site can know a token, so the host name does not matter
        if token_cache.is_open:
            self._check_browser(scope, headers, requires_origin=False)
            return ANYBODY
        if token is None and "cookie" in headers:
            connection = HTTPConnection(scope)
            caller = token_cache.caller_of_session(connection.cookies.get(session_cookie(connection), ""))
            if caller is not None:
                self._check_browser(scope, headers, requires_origin=True)
                return caller
        return NOBODY

    def _check_browser(self, scope: Scope, headers: Headers, *, requires_origin: bool) -> None:
        self.hosts.check(headers)
        check_origin(scope["method"], headers, requires_origin=requires_origin)


class AuthMiddleware:
    """Authenticates requests to one route, and stores the caller in the request's scope."""

    def __init__(self, app: ASGIApp, access: Access, *, authenticator: Authenticator) -> None:
        self._app = app
        self._access = access
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise an error of `Authenticator.authenticate`."""
        if self._access is not Access.PROBE:
            token_cache: TokenCache = scope["app"].state.services.token_cache
            scope["caller"] = self._authenticator.authenticate(scope, token_cache, access=self._access)
        await self._app(scope, receive, send)


def _bearer(headers: Headers) -> bytes | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip().encode("latin-1") if scheme.lower() == "bearer" else None


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return "an unknown address" if client is None else str(client[0])
