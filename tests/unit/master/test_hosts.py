from __future__ import annotations

import socket
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from tunefleet.errors import Forbidden, HostNotAllowed
from tunefleet_master.api.hosts import Hosts, check_origin
from tunefleet_master.settings import Settings


def hosts(host: str = "127.0.0.1", *allowed: str) -> Hosts:
    return Hosts(Settings(data=Path("/data"), host=host, allowed_hosts=allowed))


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8765", "LOCALHOST", "localhost.", "127.0.0.1", "127.0.0.1:8765", "[::1]:8765"),
        *("10.0.0.7:8765", "tune.example.org", "Tune.Example.org:443"),
    ],
)
def test_own_names_allowed_names_and_addresses_are_accepted(host: str) -> None:
    hosts("127.0.0.1", "tune.example.org").check(Headers({"host": host}))


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:8765", "", "[", "a b"),
        *("127.0.0.1@evil.example", "tune.example.org.evil.example", "example.org", "[::1", "0x7f.1"),
        *(
            "127.0.0.1:port",
            "127.0.0.1:",
            "127.0.0.1:123456",
            "127.0.0.1/x",
            "a@127.0.0.1",
            "[127.0.0.1",
            "localhost:80:80",
        ),
    ],
)
def test_any_other_name_is_refused_with_a_hint_to_allow_it(host: str) -> None:
    with pytest.raises(HostNotAllowed) as error:
        hosts("127.0.0.1", "tune.example.org").check(Headers({"host": host}))

    assert "--allow-host" in (error.value.hint or "")


def test_the_machines_own_name_is_accepted_if_others_can_reach_it() -> None:
    named = Headers({"host": f"{socket.gethostname()}:8765"})

    hosts("0.0.0.0").check(named)
    hosts("master.example.org").check(Headers({"host": "master.example.org"}))
    if socket.gethostname() != "localhost":
        with pytest.raises(HostNotAllowed):
            hosts().check(named)


OWN = {"host": "localhost:8765"}


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:8765"},
        {"origin": "https://localhost:8765"},  # a proxy with TLS in between
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "http://localhost:8765", "sec-fetch-site": "same-origin"},
    ],
)
def test_a_page_of_the_masters_own_may_write(headers: dict[str, str]) -> None:
    check_origin("POST", Headers(OWN | headers), requires_origin=True)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:8766"},
        {"origin": "http://evil.example/localhost:8765"},
        {"origin": "null"},
        {"origin": "http://["},
        {"origin": "http://evil.example@localhost:8765"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://localhost:8765", "sec-fetch-site": "cross-site"},
        {"origin": "http://evil.example", "sec-fetch-site": "same-origin"},
    ],
)
@pytest.mark.parametrize("requires_origin", [True, False])
def test_a_page_of_another_site_may_not_write(method: str, headers: dict[str, str], requires_origin: bool) -> None:
    with pytest.raises(Forbidden, match="another site"):
        check_origin(method, Headers(OWN | headers), requires_origin=requires_origin)


def test_a_write_without_an_origin_is_allowed_only_without_a_session() -> None:
    check_origin("POST", Headers(OWN), requires_origin=False)
    with pytest.raises(Forbidden):
        check_origin("POST", Headers(OWN), requires_origin=True)


def test_a_request_without_a_host_has_no_origin_of_ours() -> None:
    with pytest.raises(Forbidden):
        check_origin("POST", Headers({"origin": "file://"}), requires_origin=False)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reads_need_no_origin(method: str) -> None:
    check_origin(method, Headers(OWN | {"origin": "http://evil.example"}), requires_origin=True)
