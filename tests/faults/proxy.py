"""A small faulty proxy on loopback: it knows where a request and an answer end, and loses, delays or repeats them.

It also stands before several masters as a load balancer does: one that refuses a connection is passed over.
"""

from __future__ import annotations

import http.client
import itertools
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

ANSWER_WITHIN_S = 60.0
NOT_PASSED_ON = frozenset({"connection", "transfer-encoding", "keep-alive"})


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request; `number` counts those that the proxy has seen, from 0."""

    number: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method not in ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request.

    Attributes:
        delay_s: before it is passed on.
        loses_request: the connection is cut before it is passed on.
        loses_answer: the connection is cut after the master has answered.
        repeats: how many more times it is passed on; the last answer is given.
        late_s: the connection is cut at once, and the request is passed on so much later, behind others.
    """

    delay_s: float = 0.0
    loses_request: bool = False
    loses_answer: bool = False
    repeats: int = 0
    late_s: float | None = None

    @property
    def name(self) -> str:
        """For counting."""
        if self.late_s is not None:
            return "late"
        if self.loses_request:
            return "request lost"
        if self.loses_answer:
            return "answer lost"
        return "repeated" if self.repeats else "delayed" if self.delay_s else "none"


Plan = Callable[[Request], Fault]
WELL = Fault()


class Proxy:
    """Passes requests on to the masters at `upstreams`, with the faults that the plan names."""

    def __init__(self, upstreams: Sequence[str], plan: Plan = lambda request: WELL) -> None:
        self.upstreams = list(upstreams)
        self.plan = plan
        self.faults: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._turns = itertools.count()
        self._late: list[threading.Timer] = []
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Pass on nothing more."""
        for timer in self._late:
            timer.cancel()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def settle(self) -> None:
        """Wait until everything that was held back has been passed on."""
        for timer in list(self._late):
            timer.join()

    def begin(self, method: str, path: str, headers: Any, body: bytes) -> tuple[Request, Fault]:
        """A request has come."""
        kept = tuple((key, value) for key, value in headers.items() if key.lower() not in NOT_PASSED_ON)
        request = Request(next(self._numbers), method, path, kept, body)
        fault = self.plan(request)
        self.faults[fault.name] += 1
        return request, fault

    def hold(self, request: Request, late_s: float) -> None:
        """Pass it on later, whoever still waits for its answer."""
        timer = threading.Timer(late_s, lambda: self.pass_on(request))
        timer.daemon = True
        self._late.append(timer)
        timer.start()

    def pass_on(self, request: Request) -> tuple[int, list[tuple[str, str]], bytes] | None:
        """Status, headers and body of a master's answer; None when none gave a whole one."""
        first = next(self._turns)
        for turn in range(len(self.upstreams)):
            upstream = self.upstreams[(first + turn) % len(self.upstreams)]
            try:
                connection = _connected(upstream)
            except OSError:
                continue  # nothing listens there: the next one may
            try:
                return _asked(connection, request)
            except (OSError, http.client.HTTPException):
                return None  # it may have been done, so asking another would be a repeat
            finally:
                connection.close()
        return None


@contextmanager
def proxied(upstreams: Sequence[str], plan: Plan = lambda request: WELL) -> Iterator[Proxy]:
    """A proxy for as long as the context lasts."""
    proxy = Proxy(upstreams, plan)
    try:
        yield proxy
    finally:
        proxy.close()


def at_random(seed: int, *, share: float, late_s: float = 0.3) -> Plan:
    """A plan that gives so large a share of all writing requests one of the faults."""
    draw = random.Random(seed)
    lock = threading.Lock()
    faults = [
        Fault(loses_answer=True),
        Fault(loses_request=True),
        Fault(repeats=1),
        Fault(repeats=2, loses_answer=True),
        Fault(late_s=late_s),
        Fault(delay_s=late_s / 3),
    ]

    def plan(request: Request) -> Fault:
        with lock:
            return draw.choice(faults) if request.writes and draw.random() < share else WELL

    return plan


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to speak of."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> Any:
        """`do_POST` and all the others are one."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests have their own words."""

    def _serve(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request, fault = proxy.begin(self.command, self.path, self.headers, body)
        time.sleep(fault.delay_s)
        answer = None
        if fault.late_s is not None:
            proxy.hold(request, fault.late_s)
        elif not fault.loses_request:
            for _ in range(fault.repeats + 1):
                answer = proxy.pass_on(request)
        if answer is None or fault.loses_answer:
            self._cut()
        else:
            self._give(*answer)

    def _give(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() not in NOT_PASSED_ON | {"content-length"}:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command != "HEAD" else b"")

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _connected(upstream: str) -> http.client.HTTPConnection:
    split = urlsplit(upstream)
    connection = http.client.HTTPConnection(str(split.hostname), split.port, timeout=ANSWER_WITHIN_S)
    connection.connect()
    return connection


def _asked(connection: http.client.HTTPConnection, request: Request) -> tuple[int, list[tuple[str, str]], bytes]:
    connection.request(request.method, request.path, body=request.body, headers=dict(request.headers))
    response = connection.getresponse()
    return response.status, response.getheaders(), response.read()
