"""Who may do what: the scopes that a token may have, what each route asks for, and the one table between them."""

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
    """What a route is for. Every route declares one with `needs`; an application with one that does not is refused."""

    PROBE = "probe"
    """Liveness and readiness: a load balancer has no token, and calls the master by any name."""
    LOGIN = "login"
    """The way in: the login page, and what it is drawn with."""
    READ = "read"
    """Looking at anything."""
    FETCH = "fetch"
    """Looking at what a trial needs to run: its study, its code, its files."""
    SUBMIT = "submit"
    """Handing in studies and code, and changing, stopping and deleting studies."""
    WORK = "work"
    """Claiming trials and keeping leases."""
    ATTEMPT = "attempt"
    """Reports, files and the end of one attempt."""
    ADMIN = "admin"
    """Making, listing and revoking tokens."""


MAY: Mapping[Access, frozenset[Scope]] = {
    Access.READ: frozenset({Scope.READ, Scope.SUBMIT, Scope.ADMIN}),
    Access.FETCH: frozenset({Scope.READ, Scope.SUBMIT, Scope.WORK, Scope.ADMIN}),
    Access.SUBMIT: frozenset({Scope.SUBMIT, Scope.ADMIN}),
    Access.WORK: frozenset({Scope.WORK, Scope.ADMIN}),
    Access.ATTEMPT: frozenset({Scope.WORK, Scope.ADMIN}),
    Access.ADMIN: frozenset({Scope.ADMIN}),
}
"""Which scopes open what; PROBE and LOGIN are open to everybody."""

OPEN = frozenset({Access.PROBE, Access.LOGIN})
OF_A_TRIAL = frozenset({Access.FETCH, Access.ATTEMPT})
"""What an attempt's own token opens, where the path names its trial."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request, as far as the master knows them."""

    name: str
    scopes: frozenset[Scope] = frozenset()
    attempt: tuple[int, int] | None = None
    """The trial and the attempt of an attempt's own token, which is good for nothing else."""
    is_known: bool = True

    def check(self, access: Access, trial_id: str | None) -> None:
        """Raise Forbidden unless the caller may have the access; `trial_id` is what the path says."""
        if access in OPEN or MAY[access] & self.scopes:
            return
        if self.attempt is None:
            needed = " or ".join(sorted(MAY[access]))
            raise Forbidden(
                f"{self.name} has the scope {' and '.join(sorted(self.scopes)) or 'of nothing'}, and may not do this.",
                hint=f"It takes a token with the scope {needed}.",
            )
        if access not in OF_A_TRIAL or trial_id != str(self.attempt[0]):
            raise Forbidden("The token of an attempt is good for the reports, files and end of its own trial only.")


NOBODY = Caller("nobody", is_known=False)
ANYBODY = Caller("anybody", frozenset(Scope))
"""Whoever asks a master that has no tokens, and listens to its own machine only."""


def needs(access: Access) -> Callable[[Endpoint], Endpoint]:
    """Declare what a route is for; stands below the route's own decorator."""

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.access = access  # type: ignore[attr-defined]
        return endpoint

    return declare


def access_of(endpoint: object) -> Access | None:
    """What the endpoint declares."""
    return getattr(endpoint, "access", None)


def caller_of(connection: HTTPConnection) -> Caller:
    """Who sent the request that is handled; its door has noted it."""
    caller: Caller = connection.scope["caller"]
    return caller


def confine(connection: HTTPConnection, attempt: int) -> None:
    """Raise Forbidden when an attempt's own token is shown, and the request writes for another attempt."""
    own = caller_of(connection).attempt
    if own is not None and own[1] != attempt:
        raise Forbidden(f"The token is attempt {own[1]}'s, and the request writes for attempt {attempt}.")


def session_cookie(connection: HTTPConnection) -> str:
    """The name of the cookie of a browser's session; it has the port in it, since cookies of one host share theirs."""
    port = connection.headers.get("host", "").rpartition(":")[2]
    return f"tunefleet-{port if port.isascii() and port.isdecimal() else connection.scope['scheme']}"
