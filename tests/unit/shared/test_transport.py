"""The transport: requests, retries, and the errors that responses become."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tunefleet.client.transport import Transport, route
from tunefleet.errors import (
    InvalidInput,
    LeaseLost,
    MasterUnreachable,
    NotAvailableYet,
    NotFound,
    StorageUnusable,
    TunefleetError,
    Unauthorized,
    UploadOffset,
)
from tunefleet.protocol import ClaimRequest, ClaimResponse, Directive, StudyPatch

URL = "http://master.test:8765"
GO_ON = {"directive": "continue", "reason": None, "message": ""}


class InstantStop(threading.Event):
    """A stop event that is never set; its waits take no time and are recorded in `waits`."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


def problem(code: str, status: int, **more: object) -> httpx.Response:
    document = {
        "type": f"urn:tunefleet:{code}",
        "title": code,
        "status": status,
        "detail": "what happened",
        "code": code,
        **more,
    }
    return httpx.Response(status, json=document, headers={"content-type": "application/problem+json"})


def transport(
    answers: Callable[[httpx.Request], httpx.Response], *, stop: threading.Event | None = None, **more: float | None
) -> Transport:
    return Transport(URL, "secret", stop=stop or InstantStop(), wire=httpx.MockTransport(answers), **more)  # type: ignore[arg-type]


def one_after_the_other(*outcomes: httpx.Response | Exception) -> Callable[[httpx.Request], httpx.Response]:
    left = list(outcomes)

    def answer(request: httpx.Request) -> httpx.Response:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return answer


def test_a_message_goes_out_with_the_token_and_comes_back_as_a_model() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"leases": [], "lease_s": 60, "heartbeat_s": 10})

    response = transport(answer).post("/claims", ClaimRequest(worker="w"), answer=ClaimResponse)
    assert response.lease_s == 60
    assert str(seen[0].url) == f"{URL}/api/v1/claims"
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert json.loads(seen[0].content) == {"worker": "w"}


def test_fields_that_were_not_set_are_not_sent() -> None:
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        return httpx.Response(200, json=GO_ON)

    transport(answer).patch("/studies/s", StudyPatch(priority=3), answer=Directive)
    assert json.loads(seen[0]) == {"priority": 3}


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("[Errno 111] Connection refused"),
        httpx.ReadTimeout("timed out"),
        httpx.RemoteProtocolError("Server disconnected"),
        httpx.Response(502, text="bad gateway"),
        httpx.Response(504, text="gateway timeout"),
        problem("storage_unusable", 503),
        httpx.Response(429),
        problem("internal", 500),
        httpx.Response(500, text="oh dear"),
    ],
    ids=["refused", "timeout", "cut", "502", "504", "503", "429", "500", "500-of-a-balancer"],
)
def test_temporary_failures_are_retried(failure: httpx.Response | Exception) -> None:
    answers = one_after_the_other(failure, failure, httpx.Response(200, json=GO_ON))
    assert transport(answers).get("/x", Directive).directive == "continue"


def test_a_lasting_server_error_is_raised_after_a_few_attempts() -> None:
    tried: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        tried.append(request)
        return problem("internal", 500)

    with pytest.raises(TunefleetError, match="what happened"):
        transport(answer, retry_for_s=None).get("/x", Directive)
    assert len(tried) == 5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_a_refusal_is_not_retried(status: int) -> None:
    with pytest.raises(TunefleetError, match="what happened"):
        transport(one_after_the_other(problem("some_code", status))).get("/x", Directive)


def test_retry_after_is_obeyed() -> None:
    stop = InstantStop()
    answers = one_after_the_other(httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(200, json=GO_ON))
    transport(answers, stop=stop).get("/x", Directive)
    assert 7 <= stop.waits[0] <= 7.1


def test_a_retry_after_beyond_the_retry_time_gives_up() -> None:
    busy = problem("storage_unusable", 503)
    busy.headers["retry-after"] = "120"
    answers = one_after_the_other(busy)
    with pytest.raises(StorageUnusable, match="what happened"):
        transport(answers, retry_for_s=60).get("/x", Directive)


def test_no_retry_means_one_attempt() -> None:
    with pytest.raises(MasterUnreachable):
        transport(one_after_the_other(httpx.ConnectError("refused")), retry_for_s=0).get("/x", Directive)


def test_endless_retries_end_when_stop_is_set() -> None:
    stop = threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        stop.set()
        raise httpx.ConnectError("[Errno 111] Connection refused")

    with pytest.raises(MasterUnreachable, match="nothing listens there"):
        transport(answer, stop=stop, retry_for_s=None).get("/x", Directive)


def test_an_unreachable_master_is_named_with_reason_and_hint() -> None:
    with pytest.raises(MasterUnreachable) as caught:
        transport(one_after_the_other(httpx.ConnectError("[Errno 111] Connection refused")), retry_for_s=0).get(
            "/x", Directive
        )
    text = str(caught.value)
    assert URL in text
    assert "refused" in text
    assert "tunefleet up" in text
    assert "TUNEFLEET_URL" in text


def test_a_problem_document_becomes_the_error_of_its_code_with_hint_and_problems() -> None:
    document = problem(
        "not_available_yet", 422, hint="wait", errors=[{"field": "stages", "rule": "not available yet", "value": None}]
    )
    with pytest.raises(NotAvailableYet) as caught:
        transport(one_after_the_other(document)).get("/x", Directive)
    assert caught.value.hint == "wait"
    assert [str(one) for one in caught.value.problems] == ["stages: not available yet"]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("lease_lost", 409, LeaseLost),
        ("malformed_json", 400, InvalidInput),
        ("unauthorized", 401, Unauthorized),
        ("of_tomorrow", 409, TunefleetError),
    ],
)
def test_codes_select_the_error_class(code: str, status: int, kind: type[TunefleetError]) -> None:
    with pytest.raises(kind, match="what happened"):
        transport(one_after_the_other(problem(code, status))).get("/x", Directive)


def test_every_error_class_crosses_the_wire_by_its_code() -> None:
    from tunefleet.client.responses import error_classes, error_from_problem
    from tunefleet.protocol import ProblemDocument

    for kind in error_classes(TunefleetError):
        document = ProblemDocument(type="t", title="t", status=409, detail="d", code=kind.code)
        assert type(error_from_problem(document)) is kind


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<html>a router</html>"),
        httpx.Response(404, html="<html>nothing here</html>"),
        httpx.Response(404, json={"detail": "Not Found"}),
    ],
    ids=["page", "missing page", "another API"],
)
def test_an_answer_of_another_server_is_recognised(answer: httpx.Response) -> None:
    with pytest.raises(MasterUnreachable, match="not a Tunefleet master"):
        transport(one_after_the_other(answer)).get("/x", Directive)


def test_an_answer_of_another_version_is_recognised() -> None:
    with pytest.raises(MasterUnreachable, match="same version"):
        transport(one_after_the_other(httpx.Response(200, json={"directive": "dance"}))).get("/x", Directive)


@pytest.mark.parametrize("url", ["localhost:8765", "ftp://host", "http://", "", "http://host:99999"])
def test_an_invalid_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidInput, match="http://HOST:PORT"):
        Transport(url)


def test_a_route_quotes_its_parts() -> None:
    assert route("studies", "../x y", 3) == "/studies/..%2Fx%20y/3"


class Store:
    """A master's file endpoint that disconnects after `cut_after` bytes of each request."""

    def __init__(self, *, cut_after: int | None = None, held: bytes = b"") -> None:
        self.held = held
        self.cut_after = cut_after
        self.ranges: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(200, headers={"upload-offset": str(len(self.held))})
        return self.receive(request) if request.method == "PUT" else self.send(request)

    def receive(self, request: httpx.Request) -> httpx.Response:
        self.ranges.append(request.headers.get("content-range"))
        start = int((self.ranges[-1] or "bytes 0-").removeprefix("bytes ").split("-")[0])
        if start and start != len(self.held):
            return problem("upload_offset", 409, offset=len(self.held))
        body = request.read()
        self.held = self.held[:start] + body[: self.cut_after]
        if self.cut_after is not None and len(body) > self.cut_after:
            raise httpx.WriteError("connection reset")
        return httpx.Response(201, json=GO_ON)

    def send(self, request: httpx.Request) -> httpx.Response:
        self.ranges.append(request.headers.get("range"))
        start = int((self.ranges[-1] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        body = self.held[start:]
        return httpx.Response(206 if start else 200, stream=Cut(body, self.cut_after))


class Cut(httpx.SyncByteStream):
    """A response body that ends with a disconnect."""

    def __init__(self, body: bytes, cut_after: int | None) -> None:
        self.body = body
        self.cut_after = cut_after

    def __iter__(self) -> Iterator[bytes]:
        yield self.body[: self.cut_after]
        if self.cut_after is not None and len(self.body) > self.cut_after:
            raise httpx.ReadError("connection reset")


def test_an_upload_resumes_after_the_last_stored_byte(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(bytes(range(250)))
    store = Store(cut_after=100)
    transport(store).put_file("/a", file, answer=Directive, query={"attempt": 1})
    assert store.held == file.read_bytes()
    assert store.ranges == [None, "bytes 100-249/250", "bytes 200-249/250"]


def test_an_upload_follows_the_offset_that_the_master_names(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"0123456789")
    steps: Iterator[httpx.Response | Exception | int] = iter(
        [httpx.ReadError("cut"), 7, problem("upload_offset", 409, offset=4), httpx.Response(201, json=GO_ON)]
    )
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        step = next(steps)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, int):
            return httpx.Response(200, headers={"upload-offset": str(step)})
        bodies.append(request.read())
        return step

    transport(answer).put_file("/a", file, answer=Directive)
    assert bodies == [b"789", b"456789"]


def test_an_upload_offset_without_retries_is_raised(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"0123")
    with pytest.raises(UploadOffset):
        transport(one_after_the_other(problem("upload_offset", 409, offset=2)), retry_for_s=0).put_file(
            "/a", file, answer=Directive
        )


def test_an_empty_file_is_uploaded(tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.touch()
    store = Store()
    transport(store).put_file("/a", file, answer=Directive)
    assert store.ranges == [None]


def test_a_download_resumes_after_a_disconnect_and_is_complete(tmp_path: Path) -> None:
    store = Store(cut_after=100, held=bytes(range(250)))
    to = tmp_path / "deep" / "model.bin"
    transport(store).download("/a", to, sha256=hashlib.sha256(store.held).hexdigest())
    assert to.read_bytes() == store.held
    assert store.ranges == [None, "bytes=100-", "bytes=200-"]
    assert list(to.parent.iterdir()) == [to]


def test_a_download_with_another_hash_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(MasterUnreachable, match="differs from"):
        transport(Store(held=b"abc")).download("/a", tmp_path / "x", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_does_not_exist_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TunefleetError, match="what happened"):
        transport(one_after_the_other(problem("not_found", 404))).download("/a", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_lines_arrive_as_they_are_sent_and_end_at_a_disconnect() -> None:
    body = b"id: 1\ndata: {}\n\n"

    class Stream(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield body
            raise httpx.ReadError("connection reset")

    with transport(lambda _: httpx.Response(200, stream=Stream())).lines("/studies/s/events") as lines:
        assert list(lines) == ["id: 1", "data: {}", ""]


def test_not_found_in_a_retried_delete_means_success():
    tries = []

    def answer(request: httpx.Request) -> httpx.Response:
        tries.append(request.method)
        if len(tries) == 1:
            raise httpx.ReadError("cut")
        return problem("not_found", 404)

    transport(answer).delete("/studies/a")
    assert tries == ["DELETE", "DELETE"]
    with pytest.raises(NotFound):
        transport(lambda request: problem("not_found", 404)).delete("/studies/a")
