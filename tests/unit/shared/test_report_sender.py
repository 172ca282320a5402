"""The report sender of a claimed trial: the order of reports, outages, and stop directives."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tunefleet.client.report_sender import ReportSender
from tunefleet.client.transport import Transport
from tunefleet.errors import LeaseLost, MasterUnreachable
from tunefleet.names import TrialId
from tunefleet.protocol import Lease, StopReason, WorkerFacts
from tunefleet.study.objective import Objective
from tunefleet.study.spec import CommandRun, DataSpec

GO_ON = {"directive": "continue"}
BEAT = {"lost": [], "stop": [], "lease_s": 60, "heartbeat_s": 0.01}
LEASE = Lease(
    trial_id=TrialId(7),
    attempt=2,
    study="s",
    number=0,
    params={},
    seed=0,
    steps=None,
    run=CommandRun(command="x"),
    data=DataSpec(),
    objective=Objective(metric="m", goal="minimize"),
    trial_timeout_s=None,
    resume=None,
)


@contextmanager
def sender(answer: Callable[[httpx.Request], httpx.Response], *, heartbeat_s: float = 60.0) -> Iterator[ReportSender]:
    transport = Transport("http://master.test", retry_for_s=0, wire=httpx.MockTransport(answer))
    made = ReportSender(transport, LEASE, worker="w", facts=WorkerFacts(), heartbeat_s=heartbeat_s)
    yield made
    transport.close()


def lost() -> httpx.Response:
    body = {"type": "t", "title": "t", "status": 409, "detail": "another worker has it", "code": "lease_lost"}
    return httpx.Response(409, json=body, headers={"content-type": "application/problem+json"})


def test_reports_arrive_in_order_with_rising_numbers() -> None:
    seen: list[tuple[int, int]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert body["attempt"] == 2
        seen.extend((report["step"], report["number"]) for report in body["reports"])
        return httpx.Response(200, json=GO_ON)

    with sender(answer) as made:
        for step in range(2_500):
            made.put(step, {"m": 1.0})
        made.close()
    assert seen == [(step, step + 1) for step in range(2_500)]


def refused() -> httpx.Response:
    raise httpx.ConnectError("[Errno 111] Connection refused")


@pytest.mark.parametrize(
    "trouble", [refused, lambda: httpx.Response(500), lambda: httpx.Response(429)], ids=["gone", "500", "429"]
)
def test_reports_wait_for_an_unavailable_master(trouble: Callable[[], httpx.Response]) -> None:
    away = threading.Event()
    back = threading.Event()
    seen: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if not back.is_set():
            away.set()
            return trouble()
        seen.extend(report["step"] for report in json.loads(request.content)["reports"])
        return httpx.Response(200, json=GO_ON)

    with sender(answer) as made:
        made.put(0, {"m": 1.0})
        assert away.wait(60)
        made.put(1, {"m": 1.0})
        assert made.failure is None
        back.set()
        made.close()
    assert seen == [0, 1]


def test_undelivered_reports_raise_at_the_end() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[Errno 111] Connection refused")

    with sender(answer) as made:
        made.put(0, {"m": 1.0})
        with pytest.raises(MasterUnreachable):
            made.close()


def test_a_stop_directive_is_stored() -> None:
    with sender(lambda _: httpx.Response(200, json={"directive": "stop", "reason": "pruned"})) as made:
        made.put(0, {"m": 1.0})
        made.close()
        assert made.stop_reason is StopReason.PRUNED


def test_a_lost_lease_ends_the_sender() -> None:
    with sender(lambda _: lost()) as made:
        made.put(0, {"m": 1.0})
        with pytest.raises(LeaseLost, match="another worker has it"):
            made.close()


@pytest.mark.parametrize("how", ["lost", "stop"])
def test_heartbeats_return_stops_and_lost_leases(how: str) -> None:
    beats = threading.Semaphore(0)

    def answer(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content)["leases"] == [{"trial_id": 7, "attempt": 2}]
        told = {"lost": [7]} if how == "lost" else {"stop": [{"trial_id": 7, "reason": "cancelled"}]}
        beats.release()
        return httpx.Response(200, json=BEAT | told)

    with sender(answer, heartbeat_s=0.01) as made:
        assert beats.acquire(timeout=60)
        if how == "lost":
            with pytest.raises(LeaseLost):
                made.close()
        else:
            made.close()
            assert made.stop_reason is StopReason.CANCELLED
