"""HTTP requests to the master, with one layer of retries. No other module imports httpx.

Every call of the protocol is idempotent, so all calls may be retried. The transport retries lost connections,
timeouts, and the statuses 429, 502, 503 and 504, with full jitter and never before `Retry-After`. It retries other
server errors (500) a few times, because another master may answer at the same address. It raises all other errors.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from tunefleet import __version__
from tunefleet.client.journal import Journal
from tunefleet.client.responses import URL_HINT, error_from_response, parse_response
from tunefleet.client.retries import MAX_WAIT_S, RetryPolicy
from tunefleet.errors import InvalidInput, MasterUnreachable, NotFound, Problem, TunefleetError, UploadOffset
from tunefleet.model import Model
from tunefleet.protocol import API

T = TypeVar("T")
Query = Mapping[str, str | int | float | bool | None]

CHUNK_BYTES = 1 << 20  # large enough that Python does not slow down a fast network; a slow one sends it within seconds
CONNECT_S = 10.0
MAX_FAULT_TRIES = 5  # takes some seconds with the waits, in which a load balancer finds a healthy master
_RETRIED_STATUSES = frozenset({429, 502, 503, 504})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request; an iterator as `content` serves one attempt only."""

    method: str
    path: str
    query: Query = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | Iterator[bytes] | None = None
    timeout_s: float | None = None


class _Retryable(Exception):
    """An attempt failed in a way that a retry may fix; `error` is raised when no retry is left."""

    def __init__(self, error: TunefleetError, *, retry_after_s: float | None = None, is_fault: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_s = retry_after_s
        self.is_fault = is_fault


class Transport:
    """Requests to one master; many threads may use it at once.

    Args:
        url: the master's address, such as `http://127.0.0.1:8765`.
        token: sent as a bearer token.
        timeout_s: the time limit for one attempt to receive a byte from the master.
        retry_for_s: how long a call is retried after its first failure; None: until `stop` is set; 0: no retries.
        stop: an event that ends the waits between attempts; running calls then raise their last error.
        wire: replaces the network (`httpx.MockTransport`).

    Raises InvalidInput when the URL is invalid. Every call raises the errors of `tunefleet.errors`: MasterUnreachable
    without an answer after the retries, and otherwise the error of the master's problem document.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout_s: float = 30.0,
        retry_for_s: float | None = 60.0,
        stop: threading.Event | None = None,
        wire: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = _validated_url(url)
        self._timeout_s = timeout_s
        self._retry_for_s = retry_for_s
        self._max_wait_s = MAX_WAIT_S
        self._stop = stop or threading.Event()
        self._journal = Journal.from_environment()
        headers = {"User-Agent": f"tunefleet/{__version__}", "Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.Client(
            base_url=self.url + API,
            headers=headers,
            transport=wire,
            # Reading the system's certificates takes longer than a whole request, and only TLS needs them.
            verify=self.url.startswith("https:"),
            # A proxy from the environment cannot reach this machine's loopback address.
            trust_env=urlsplit(self.url).hostname not in _LOOPBACK,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )

    def with_retry_time(self, retry_for_s: float | None) -> Self:
        """Return a transport with the same connections and another `retry_for_s`; closing one closes both."""
        other = copy.copy(self)
        other._retry_for_s = retry_for_s
        return other

    def with_max_wait(self, max_wait_s: float) -> Self:
        """Return a transport with the same connections and waits of at most `max_wait_s` between two attempts.

        A wait longer than a lease can lose a claim: when its answer is lost, another worker gets the trial.
        """
        other = copy.copy(self)
        other._max_wait_s = max_wait_s
        return other

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        """Return the transport; the end of the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def get(self, path: str, answer: type[T], *, query: Query | None = None) -> T:
        """Send a GET request without the query's keys that are None."""
        return self._answer(Call("GET", path, query=query or {}), answer)

    def post(self, path: str, body: Model, *, answer: type[T], timeout_s: float | None = None) -> T:
        """Post a message; `timeout_s` applies to this call only (a long poll needs more than its wait)."""
        return self._answer(_call_with_body("POST", path, body, timeout_s), answer)

    def patch(self, path: str, body: Model, *, answer: type[T]) -> T:
        """Send a PATCH request without the body's unset fields."""
        return self._answer(_call_with_body("PATCH", path, body), answer)

    def delete(self, path: str) -> None:
        """Send a DELETE request; NotFound in a retry means success, because the first answer was lost."""
        call, is_repeat = Call("DELETE", path), False

        def remove() -> None:
            nonlocal is_repeat
            try:
                self._try(call)
            except NotFound:
                if not is_repeat:
                    raise
                self._add_to_journal(call, None)
            except _Retryable:
                is_repeat = True
                raise

        self._retry(remove)

    def put_file(self, path: str, file: Path, *, answer: type[T], query: Query | None = None) -> T:
        """Upload a file in chunks of CHUNK_BYTES; after a disconnect, resume after the last byte that the master has.

        Raises FileNotFoundError when the file does not exist.
        """
        size_bytes = file.stat().st_size
        policy = self._retry_policy()
        offset: int | None = 0

        def upload() -> httpx.Response:
            nonlocal offset
            if offset is None:
                offset = self._stored_bytes(path, query)
                if offset:
                    policy.reset()
            start, offset = (offset if offset < size_bytes else 0), None
            headers = _range_headers(start, size_bytes)
            try:
                return self._try(Call("PUT", path, query or {}, headers, _chunks(file, start), self._timeout_s))
            except UploadOffset as error:
                offset = error.offset
                raise _Retryable(error) from error

        return parse_response(self._retry(upload, policy).content, answer, url=self.url)

    def download(self, path: str, to: Path, *, sha256: str | None = None) -> None:
        """Download a file; `to` appears once it is complete and has the hash. A disconnect resumes after the last byte.

        Raises:
            MasterUnreachable: also when the received file has another hash.
            OSError: the folder is not writable.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        part = to.with_name(f".{to.name}.{os.getpid()}-{threading.get_ident()}.part")
        policy = self._retry_policy()
        try:
            with part.open("w+b") as out:
                self._retry(lambda: self._fetch(path, out, policy), policy)
                out.seek(0)
                if sha256 is not None and hashlib.file_digest(out, "sha256").hexdigest() != sha256:
                    raise MasterUnreachable(
                        f"{self.url}{API}{path} arrived with a hash that differs from the master's.", hint="Try again."
                    )
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lines(
        self, path: str, *, query: Query | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Iterator[str]]:
        """Yield the lines of a stream of server-sent events; connecting is retried, a disconnect ends the stream."""
        call = Call("GET", path, query or {}, {"Accept": "text/event-stream", **(headers or {})})
        response = self._retry(lambda: self._try(call, stream=True))
        try:
            yield _lines_until_disconnect(response)
        finally:
            response.close()

    def wait(self, wait_s: float) -> bool:
        """Wait; return True when `stop` is set."""
        return self._stop.wait(wait_s)

    def _answer(self, call: Call, answer: type[T]) -> T:
        return parse_response(self._retry(lambda: self._try(call)).content, answer, url=self.url)

    def _retry_policy(self) -> RetryPolicy:
        return RetryPolicy(self._retry_for_s, max_wait_s=self._max_wait_s)

    def _retry(self, attempt: Callable[[], T], policy: RetryPolicy | None = None) -> T:
        """Run `attempt` until it returns, raises an error other than _Retryable, or the policy gives up."""
        policy = policy or self._retry_policy()
        while True:
            try:
                return attempt()
            except _Retryable as failed:
                wait_s = policy.wait_s(failed.retry_after_s)
                is_enough = failed.is_fault and policy.failures >= MAX_FAULT_TRIES
                if wait_s is None or is_enough or self._stop.wait(wait_s):
                    raise failed.error from failed.__cause__

    def _try(self, call: Call, *, stream: bool = False) -> httpx.Response:
        """Send once. Raises _Retryable when a retry may help, or the error of the master's problem document."""
        request = self._client.build_request(
            call.method,
            call.path,
            params={key: _query_text(value) for key, value in call.query.items() if value is not None},
            headers=dict(call.headers),
            content=call.content,
            timeout=httpx.Timeout(call.timeout_s or self._timeout_s, connect=min(CONNECT_S, self._timeout_s)),
        )
        begin = time.monotonic()
        with self._translate_errors():
            response = self._client.send(request, stream=stream)
            if stream and not response.is_success:
                response.read()
                response.close()
        if response.is_success:
            self._add_to_journal(call, None if stream else response.content, took_s=time.monotonic() - begin)
            return response
        error = error_from_response(
            response.status_code, response.content, content_type=response.headers.get("content-type", ""), url=self.url
        )
        if response.status_code in _RETRIED_STATUSES or response.is_server_error:
            retry_after_s = _retry_after_seconds(response.headers.get("retry-after"))
            raise _Retryable(error, retry_after_s=retry_after_s, is_fault=response.status_code not in _RETRIED_STATUSES)
        raise error

    def _add_to_journal(self, call: Call, answer: bytes | None, *, took_s: float = 0.0) -> None:
        """Record an acknowledged call that writes, when there is a journal."""
        if self._journal is not None and call.method not in _SAFE_METHODS:
            sent = call.content if isinstance(call.content, bytes) else None
            self._journal.append(call.method, call.path, query=call.query, bodies=(sent, answer), took_s=took_s)

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Translate errors of httpx into _Retryable or, where no retry can help, into MasterUnreachable."""
        try:
            yield
        except httpx.RequestError as error:
            unreachable = MasterUnreachable(
                f"No answer from the master at {self.url}: {_reason(error)}.", hint=URL_HINT
            )
            if isinstance(error, httpx.UnsupportedProtocol | httpx.TooManyRedirects | httpx.DecodingError):
                raise unreachable from error
            raise _Retryable(unreachable) from error

    def _stored_bytes(self, path: str, query: Query | None) -> int:
        """Return the number of bytes of an upload that the master has."""
        try:
            response = self._try(Call("HEAD", path, query or {}))
        except (NotFound, MasterUnreachable):
            return 0
        text = response.headers.get("upload-offset", "")
        return int(text) if text.isdecimal() else 0

    def _fetch(self, path: str, out: BinaryIO, policy: RetryPolicy) -> None:
        """Append the missing bytes to `out`."""
        have_bytes = out.seek(0, os.SEEK_END)
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"} | (
            {"Range": f"bytes={have_bytes}-"} if have_bytes else {}
        )
        response = self._try(Call("GET", path, headers=headers), stream=True)
        with contextlib.closing(response), self._translate_errors():
            if have_bytes and response.status_code != httpx.codes.PARTIAL_CONTENT:
                out.seek(0)
                out.truncate()
            for chunk in response.iter_raw():  # raw: with a fixed chunk size, a disconnect would lose the last part
                out.write(chunk)
                policy.reset()


def route(*parts: str | int) -> str:
    """Return the path of quoted parts: `route("studies", "digits", "trials")` is `/studies/digits/trials`."""
    return "".join(f"/{quote(str(part), safe='')}" for part in parts)


def _validated_url(url: str) -> str:
    try:
        split = urlsplit(url)
        sound = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise InvalidInput([Problem("url", "must look like http://HOST:PORT", repr(url))], hint=URL_HINT)
    return url.rstrip("/")


def _call_with_body(method: str, path: str, body: Model, timeout_s: float | None = None) -> Call:
    """Return a call that sends the body's set fields only, so that older masters need not know the newest fields."""
    content = body.model_dump_json(by_alias=True, exclude_unset=True).encode()
    return Call(method, path, headers={"Content-Type": "application/json"}, content=content, timeout_s=timeout_s)


def _query_text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _range_headers(start: int, size_bytes: int) -> dict[str, str]:
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes - start)}
    return headers | ({"Content-Range": f"bytes {start}-{size_bytes - 1}/{size_bytes}"} if start else {})


def _chunks(file: Path, start: int) -> Iterator[bytes]:
    with file.open("rb") as source:
        source.seek(start)
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def _lines_until_disconnect(response: httpx.Response) -> Iterator[str]:
    with contextlib.suppress(httpx.TransportError):
        yield from response.iter_lines()


def _retry_after_seconds(retry_after: str | None) -> float | None:
    """Return a `Retry-After` in seconds; a date counts from now, which is precise to a second."""
    if retry_after is None:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(retry_after))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    return None


def _reason(error: httpx.RequestError) -> str:
    """Describe why a request failed."""
    text = str(error)
    if isinstance(error, httpx.ConnectTimeout):
        return "the connection timed out"
    if isinstance(error, httpx.TimeoutException):
        return "it accepted the connection but did not answer in time"
    if "refused" in text:
        return "the connection was refused, so nothing listens there"
    if "Name or service not known" in text or "name resolution" in text or "nodename nor servname" in text:
        return "there is no host with this name"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
        return f"the connection was lost ({text or type(error).__name__})"
    return text or type(error).__name__
