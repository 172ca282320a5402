"""Records of a trial reach the master after any error, unless the master refuses the attempt."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tunefleet.client.transport import Transport
from tunefleet.errors import MasterUnreachable, TunefleetError
from tunefleet.protocol import TrialState
from tunefleet_worker.agent.checkpoint_cache import CheckpointCache
from tunefleet_worker.agent.delivery import AttemptRefused, Delivery
from tunefleet_worker.attempt_folder import AttemptFolder, StoredLease
from tunefleet_worker.spool import End, FileRecord, ReportRecord, SpoolWriter

URL = "http://master.test"
GO_ON = {"directive": "continue"}
ENDED = {"state": "complete", "study_state": "running"}

Outcome = httpx.Response | Exception


def problem(code: str, status: int, **headers: str) -> httpx.Response:
    body = {"type": "t", "title": "t", "status": status, "detail": "what happened", "code": code}
    return httpx.Response(status, json=body, headers={"content-type": "application/problem+json", **headers})


class Unhurried(threading.Event):
    """An event that is never set; waits return at once and are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


class Master:
    """A master that fails as configured, and then accepts requests."""

    def __init__(self) -> None:
        self.trouble: list[Outcome] = []
        self.calls: list[tuple[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.trouble:
            outcome = self.trouble.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        call = request.url.path.removeprefix("/api/v1/trials/7/")
        is_json = request.headers.get("content-type") == "application/json"
        self.calls.append((call, json.loads(request.content) if is_json else request.read()))
        if call.startswith("artifacts/"):
            name, sha256 = call.rpartition("/")[2], request.url.params["sha256"]
            ref = {"name": name, "sha256": sha256, "size_bytes": 3, "attempt": 2, "created_at": "2026-01-01T00:00:00Z"}
            return httpx.Response(200, json=ref)
        return httpx.Response(200, json=GO_ON if call == "reports" else ENDED)

    @property
    def steps(self) -> list[int]:
        """Return all reported steps, in order."""
        return [report["step"] for call, body in self.calls if call == "reports" for report in body["reports"]]


class Bench:
    """A delivery with its spool and a fake master."""

    def __init__(self, folder: Path, make_lease: Callable[..., Any]) -> None:
        self.master, self.stop = Master(), Unhurried()
        self.pauses: list[TunefleetError] = []
        lease = make_lease(7, 2)
        self.folder = AttemptFolder.create(folder / "attempts", StoredLease(url=URL, lease=lease))
        self.spool = SpoolWriter(self.folder.spool)
        wire = httpx.MockTransport(self.master)
        self.delivery = Delivery(
            Transport(URL, retry_for_s=None, stop=self.stop, wire=wire),
            lease,
            folder=self.folder,
            log=None,
            cache=CheckpointCache(folder / "checkpoints", keep=1),
            pause=self.pause,
        )

    def pause(self, error: TunefleetError) -> None:
        """Record the pause of an agent between two tries; raise once it leaves."""
        if self.stop.is_set():
            raise MasterUnreachable(str(error)) from error
        self.pauses.append(error)

    def report(self, *steps: int) -> None:
        for step in steps:
            self.spool.append(ReportRecord(step, {"loss": 1.0}))

    def save(self, name: str) -> None:
        (self.folder.files / f"0-{name}").write_bytes(b"abc")
        self.spool.append(FileRecord(name, f"0-{name}"))


@pytest.fixture
def bench(tmp_path, lease) -> Bench:
    return Bench(tmp_path, lease)


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("[Errno 111] Connection refused"),
        httpx.ReadError("[Errno 104] Connection reset by peer"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.ReadTimeout("timed out"),
        httpx.Response(502, text="<html>bad gateway</html>"),
        problem("storage_unusable", 503),
        problem("too_many_requests", 429),
        problem("internal", 500),
    ],
    ids=["refused", "reset", "cut", "timeout", "502", "503", "429", "500"],
)
def test_records_of_an_outage_are_delivered_once_and_in_order(bench, trouble):
    bench.report(0, 1)
    bench.save("model.bin")
    bench.report(2)
    bench.master.trouble = [trouble] * 3
    bench.delivery.catch_up()
    answer = bench.delivery.finish(End.complete({"final": 2.0}))
    assert bench.master.steps == [0, 1, 2]
    assert [call for call, _ in bench.master.calls] == ["reports", "artifacts/model.bin", "complete"]
    assert bench.master.calls[-1][1] == {"attempt": 2, "metrics": {"final": 2.0}}
    assert answer.state is TrialState.COMPLETE
    assert bench.pauses == [], "the transport alone tries again"


def test_retry_after_of_the_master_is_obeyed(bench):
    bench.report(0)
    bench.master.trouble = [problem("storage_unusable", 503, **{"retry-after": "5"})]
    bench.delivery.catch_up()
    [wait_s] = bench.stop.waits
    assert wait_s >= 5


@pytest.mark.parametrize(
    "refusal", [problem("lease_lost", 409), problem("attempt_ended", 409), problem("not_found", 404)]
)
def test_what_nobody_wants_any_more_is_dropped_after_one_try(bench, refusal):
    bench.report(0)
    bench.master.trouble = [refusal]
    with pytest.raises(AttemptRefused, match="what happened"):
        bench.delivery.catch_up()
    assert bench.master.calls == []
    assert bench.stop.waits == bench.pauses == []


@pytest.mark.parametrize(
    "refusal",
    [
        problem("unauthorized", 401),
        problem("forbidden", 403),
        httpx.Response(404, text="<html>a balancer without a master behind it</html>"),
        httpx.Response(200, text="<html>please log in to the network</html>"),
    ],
    ids=["token", "scope", "balancer", "portal"],
)
def test_refused_token_or_another_server_at_the_url_loses_no_result(bench, refusal):
    bench.report(0)
    bench.master.trouble = [refusal] * 2
    bench.delivery.catch_up()
    assert bench.master.steps == [0]
    assert len(bench.pauses) == 2


def test_persistent_error_of_the_master_is_logged_and_does_not_end_the_trial(bench):
    bench.report(0)
    bench.master.trouble = [problem("internal", 500)] * 12
    bench.delivery.catch_up()
    assert bench.master.steps == [0]
    assert [str(error) for error in bench.pauses] == ["what happened"] * 2


def test_refused_reports_do_not_block_later_ones(bench):
    bench.report(0)
    bench.master.trouble = [problem("invalid_input", 422)]
    bench.delivery.catch_up()
    bench.report(1)
    bench.delivery.catch_up()
    assert bench.master.steps == [1]


def test_refused_result_fails_the_trial_with_the_reason(bench):
    bench.master.trouble = [problem("invalid_input", 422)]
    bench.delivery.finish(End.complete())
    [(call, body)] = bench.master.calls
    assert call == "fail"
    assert "the master refused the result: what happened" in body["message"]


def test_an_agent_that_leaves_gives_up_at_once(bench):
    bench.report(0)
    bench.stop.set()
    bench.master.trouble = [httpx.ConnectError("[Errno 111] Connection refused")] * 9
    with pytest.raises(MasterUnreachable):
        bench.delivery.catch_up()
    assert len(bench.master.trouble) == 8
