"""By which names a browser may reach the master, and whose pages may send it to write.

A page of another site can let its own name point to this machine and then read what the master answers (DNS
rebinding), or send forms to it. Both show in headers that no page can set. A client that shows a token is no such
page.
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
    """The names that are the master's own."""

    def __init__(self, settings: Settings) -> None:
        names = {"localhost", settings.host, *settings.allowed_hosts}
        if not settings.is_local:
            names.add(socket.gethostname())
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    def check(self, headers: Headers) -> None:
        """Raise HostNotAllowed unless the request was sent to a name of ours."""
        host = _name_in(headers.get("host", ""))
        if host not in self._names and not _is_number(host):
            raise HostNotAllowed(
                f"This master does not answer to the name {host[:100]!r}.",
                hint=f"Show a token, or start the master with --allow-host {host[:100] or 'NAME'}.",
            )


def check_origin(method: str, headers: Headers, *, must_be_told: bool) -> None:
    """Raise Forbidden when a page of another site sends a request that may change something.

    Args:
        method: of the request.
        headers: of the request.
        must_be_told: whether a request that does not say where it comes from is refused; every browser says it.
    """
    if method in SAFE:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    told = [] if site is None else [site in ("same-origin", "none")]
    told += [] if origin is None else [origin.partition("://")[2] == headers.get("host", "") != ""]
    if not all(told) or (must_be_told and not told):
        raise Forbidden("A page of another site must not do this.", hint="Programs show a token, and no cookie.")


def _name_in(host: str) -> str:
    """The name in a `Host` header, without the port and in lower case; empty when the header is none."""
    match = _HOST.fullmatch(host.lower())
    return "" if match is None else (match["address"] or match["name"].rstrip("."))


def _is_number(host: str) -> bool:
    """Whether it is an address and no name: what nobody looks up cannot be pointed elsewhere."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
