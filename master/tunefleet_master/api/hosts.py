"""Host names under which browsers may reach the master, and a check of the origin of their writes.

A page of another site can resolve its own name to this machine and then read the master's responses (DNS rebinding).
It can also send forms to the master. Both are visible in headers that no page can set. A client that shows a token is
not such a page.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from starlette.datastructures import Headers

from tunefleet.errors import Forbidden, HostNotAllowed
from tunefleet_master.settings import Settings

_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_.-]+))(?::[0-9]{1,5})?")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Hosts:
    """The host names of the master."""

    def __init__(self, settings: Settings) -> None:
        names = {"localhost", settings.host, *settings.allowed_hosts}
        if not settings.is_local:
            names.add(socket.gethostname())
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    def check(self, headers: Headers) -> None:
        """Raise HostNotAllowed unless the request was sent to one of the master's names."""
        host = _name_in(headers.get("host", ""))
        if host not in self._names and not _is_number(host):
            raise HostNotAllowed(
                f"This master does not answer to the name {host[:100]!r}.",
                hint=f"Send a token, or start the master with --allow-host {host[:100] or 'NAME'}.",
            )


def check_origin(method: str, headers: Headers, *, requires_origin: bool) -> None:
    """Raise Forbidden when a page of another site sends a request that may change something.

    Args:
        method: of the request.
        headers: of the request.
        requires_origin: refuse a request that does not declare its origin; every browser declares it.
    """
    if method in SAFE:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    checks = [] if site is None else [site in ("same-origin", "none")]
    checks += [] if origin is None else [origin.partition("://")[2] == headers.get("host", "") != ""]
    if not all(checks) or (requires_origin and not checks):
        raise Forbidden("A page of another site may not do this.", hint="Programs must send a token, not a cookie.")


def _name_in(host: str) -> str:
    """The name in a `Host` header, in lower case and without the port; empty if the header is invalid."""
    match = _HOST.fullmatch(host.lower())
    return "" if match is None else (match["address"] or match["name"].rstrip("."))


def _is_number(host: str) -> bool:
    """True for an address: it needs no DNS lookup, so DNS cannot redirect it."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
