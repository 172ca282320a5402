"""Access control: the scopes of tokens, the access that each route needs, and the table that relates them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from starlette.requests import HTTPConnection

from tunefleet.errors import Forbidden
from tunefleet.protocol.tokens import Scope

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Access(StrEnum):
    """The access that a route needs. An application with a route that does not declare one (`needs`) does not start."""

    PROBE = "probe"
    """Liveness and readiness: a load balancer has no token, and may use any host name."""
    LOGIN = "login"
    """The login page and its static files."""
    READ = "read"
    """Reading anything."""
    FETCH = "fetch"
    """Reading what a trial needs to run: its study, its code, its files."""
    SUBMIT = "submit"
    """Submitting studies and code, and changing, stopping and deleting studies."""
    WORK = "work"
    """Claiming trials and extending leases."""
    ATTEMPT = "attempt"
    """Reports, files and the end of one attempt."""
    ADMIN = "admin"
    """Creating, listing and revoking tokens."""


GRANTED_BY: Mapping[Access, frozenset[Scope]] = {
    Access.READ: frozenset({Scope.READ, Scope.SUBMIT, Scope.ADMIN}),
    Access.FETCH: frozenset({Scope.READ, Scope.SUBMIT, Scope.WORK, Scope.ADMIN}),
    Access.SUBMIT: frozenset({Scope.SUBMIT, Scope.ADMIN}),
    Access.WORK: frozenset({Scope.WORK, Scope.ADMIN}),
    Access.ATTEMPT: frozenset({Scope.WORK, Scope.ADMIN}),
    Access.ADMIN: frozenset({Scope.ADMIN}),
}
"""The scopes that grant each access; PROBE and LOGIN need none."""

OPEN = frozenset({Access.PROBE, Access.LOGIN})
ATTEMPT_ACCESS = frozenset({Access.FETCH, Access.ATTEMPT})
"""The access that an attempt's own token grants, on paths of its trial."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, as far as the master knows it."""

    name: str
    scopes: frozenset[Scope] = frozenset()
    attempt: tuple[int, int] | None = None
    """For an attempt's own token: the trial and the attempt, which are all that it grants access to."""
    is_known: bool = True

    def check(self, access: Access, trial_id: str | None) -> None:
        """Raise Forbidden unless the caller has the access; `trial_id` is the trial in the path."""
        if access in OPEN or GRANTED_BY[access] & self.scopes:
            return
        if self.attempt is None:
            needed = " or ".join(sorted(GRANTED_BY[access]))
            raise Forbidden(
                f"{self.name} has {_scopes(self.scopes)}, which does not allow this.",
                hint=f"Use a token with the scope {needed}.",
            )
        if access not in ATTEMPT_ACCESS or trial_id != str(self.attempt[0]):
            raise Forbidden("The token of an attempt allows only the reports, files and end of its own trial.")


def _scopes(scopes: frozenset[Scope]) -> str:
    return f"the scope {' and '.join(sorted(scopes))}" if scopes else "no scope"


NOBODY = Caller("nobody", is_known=False)
ANYBODY = Caller("anybody", frozenset(Scope))
"""The caller of a master that has no tokens and listens to its own machine only."""


def needs(access: Access) -> Callable[[Endpoint], Endpoint]:
    """Declare the access that a route needs; place it below the route's decorator."""

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.access = access  # type: ignore[attr-defined]
        return endpoint

    return declare


def access_of(endpoint: object) -> Access | None:
    """The access that the endpoint declares."""
    return getattr(endpoint, "access", None)


def caller_of(connection: HTTPConnection) -> Caller:
    """The sender of the current request; the auth middleware has stored it."""
    caller: Caller = connection.scope["caller"]
    return caller


def check_attempt(connection: HTTPConnection, attempt: int) -> None:
    """Raise Forbidden when the request shows the token of one attempt and writes for another."""
    own = caller_of(connection).attempt
    if own is not None and own[1] != attempt:
        raise Forbidden(f"The token belongs to attempt {own[1]}, but the request writes for attempt {attempt}.")


def session_cookie(connection: HTTPConnection) -> str:
    """The name of a browser's session cookie; it contains the port, because cookies ignore ports."""
    port = connection.headers.get("host", "").rpartition(":")[2]
    return f"tunefleet-{port if port.isascii() and port.isdecimal() else connection.scope['scheme']}"
