"""Answers that are lost after the commit, and requests that come twice, late or in another order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Any

import pytest
from tests.chaos import amount
from tests.faults.proxy import WELL, Fault, Request, at_random, proxied
from tests.faults.scripted import FACTS, Script, crew, study_of

from tunefleet.client.artifacts import upload
from tunefleet.client.transport import Transport, route
from tunefleet.errors import DuplicateConfiguration, NotFound
from tunefleet.protocol import (
    ArtifactRef,
    ClaimRequest,
    ClaimResponse,
    CompleteRequest,
    Directive,
    EndResponse,
    FailRequest,
    HeartbeatRequest,
    HeartbeatResponse,
    HeldLease,
    Lease,
    ReleaseRequest,
    Report,
    ReportBatch,
    TrialState,
)

LOST = Fault(loses_answer=True)
Call = Callable[["Scene"], Any]


class Scene:
    """A study with a trial that is running, seen through a proxy that loses the next answer when it is told to."""

    def __init__(self, fleet: Any) -> None:
        self.fleet = fleet
        self.losing = False
        self.n_lost = 0
        self.transport: Transport = fleet.client.transport
        self.study = fleet.client.submit(study_of("study", 5))
        self.lease = self.claim("first")

    def claim(self, request_id: str) -> Lease:
        """A trial; the same id gives the same one again."""
        body = ClaimRequest(worker="w", wait_s=10, request_id=request_id, facts=FACTS)
        [lease] = self.transport.post("/claims", body, answer=ClaimResponse, timeout_s=120).leases
        return lease

    def post(self, what: str, body: Any, answer: Any) -> Any:
        """A call about the trial."""
        return self.transport.post(route("trials", self.lease.trial_id, what), body, answer=answer)

    def report(self) -> Any:
        body = ReportBatch(attempt=self.lease.attempt, reports=[Report(step=1, metrics={"loss": 0.5})])
        return self.post("reports", body, Directive)

    def state(self) -> TrialState:
        return TrialState(self.study.trial(self.lease.number).state)


def claims_once(scene: Scene) -> None:
    lease = scene.claim("second")
    assert lease.number != scene.lease.number
    assert scene.study.view().trials[TrialState.RUNNING] == 2


def reports_once(scene: Scene) -> None:
    scene.report()
    assert [point.step for point in scene.study.trial(scene.lease.number).curve] == [1]


def beats(scene: Scene) -> None:
    held = HeldLease(trial_id=scene.lease.trial_id, attempt=scene.lease.attempt)
    answer = scene.transport.post("/heartbeats", HeartbeatRequest(worker="w", leases=[held]), answer=HeartbeatResponse)
    assert answer.lost == []


def completes_once(scene: Scene) -> None:
    answer = scene.post("complete", CompleteRequest(attempt=scene.lease.attempt, metrics={"loss": 0.5}), EndResponse)
    assert answer.state is scene.state() is TrialState.COMPLETE


def fails_once(scene: Scene) -> None:
    answer = scene.post("fail", FailRequest(attempt=scene.lease.attempt, exception="E at f.py:1"), EndResponse)
    assert answer.state is scene.state()
    assert len(scene.study.trial(scene.lease.number).attempts) == 1


def releases_once(scene: Scene) -> None:
    answer = scene.post("release", ReleaseRequest(attempt=scene.lease.attempt), EndResponse)
    assert answer.state is scene.state() is TrialState.WAITING


def stores_a_file_once(scene: Scene) -> None:
    file = Path(scene.fleet.folder / "file")
    file.write_bytes(b"content")
    ref = upload(scene.transport, file, "file", trial_id=scene.lease.trial_id, attempt=scene.lease.attempt)
    assert isinstance(ref, ArtifactRef)
    assert [each.name for each in scene.study.trial(scene.lease.number).artifacts] == ["file"]


def stores_a_bundle_once(scene: Scene) -> None:
    file = Path(scene.fleet.folder / "bundle")
    file.write_bytes(b"a bundle, as far as the store knows")
    scene.transport.put_file(route("bundles", hashlib.sha256(file.read_bytes()).hexdigest()), file, answer=NoneType)


def submits_once(scene: Scene) -> None:
    scene.fleet.client.submit(study_of("another", 3))
    assert [study.name for study in scene.fleet.client.studies()] == ["another", "study"]


def enqueues_once(scene: Scene) -> None:
    with pytest.raises(DuplicateConfiguration, match="has this configuration already"):
        scene.study.add(x=0.25, kind="a")  # which is what stands when the call comes again
    assert [trial.params for trial in scene.study.trials() if trial.origin == "user"] == [{"x": 0.25, "kind": "a"}]


def edits_once(scene: Scene) -> None:
    assert scene.study.edit(trials=7).budget.trials == 7
    assert scene.study.pause().state == "paused"
    assert scene.study.resume().state == "running"


def retries_once(scene: Scene) -> None:
    losing, scene.losing = scene.losing, False
    scene.post("fail", FailRequest(attempt=scene.lease.attempt, exception="E at f.py:1"), EndResponse)
    while scene.state() is not TrialState.FAILED:
        scene.lease = scene.claim(f"again{scene.study.trial(scene.lease.number).attempt}")
        scene.post("fail", FailRequest(attempt=scene.lease.attempt, exception="E at f.py:1"), EndResponse)
    scene.losing = losing
    scene.study.retry()
    assert scene.state() is TrialState.WAITING


def deletes_once(scene: Scene) -> None:
    losing, scene.losing = scene.losing, False
    scene.study.stop()
    scene.losing = losing
    scene.study.delete()
    with pytest.raises(NotFound):
        scene.study.view()
    assert scene.fleet.client.studies() == []


CALLS: list[Call] = [
    claims_once,
    reports_once,
    beats,
    completes_once,
    fails_once,
    releases_once,
    stores_a_file_once,
    stores_a_bundle_once,
    submits_once,
    edits_once,
    enqueues_once,
    retries_once,
    deletes_once,
]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_whose_answer_was_lost_is_done_once(call: Call, new_fleet: Any, ledger: Any) -> None:
    fleet = new_fleet()
    fleet.start_master()
    scenes: list[Scene] = []

    def plan(request: Request) -> Fault:
        if request.writes and scenes and scenes[0].losing:
            scenes[0].losing = False
            scenes[0].n_lost += 1
            return LOST
        return WELL

    with proxied([fleet.url], plan) as proxy:
        fleet.front = proxy.url
        scenes.append(Scene(fleet))
        scenes[0].losing = True
        call(scenes[0])
    assert scenes[0].n_lost == 1
    ledger.fault("the answer of a writing call lost after the commit")
    ledger.check_stored(fleet)


@pytest.mark.timeout(1800)
def test_requests_that_are_lost_repeated_late_or_out_of_order_change_nothing(
    new_fleet: Any, database: Any, ledger: Any
) -> None:
    n_faults = amount(250, 2_500)
    n_trials = n_faults // 2
    fleet = new_fleet(database=database)
    fleet.start_master()
    with proxied([fleet.url], at_random(seed=1, share=0.4)) as proxy:
        fleet.front = proxy.url
        with crew(proxy.url, 8, journal=fleet.journal, script=Script(batches=4)) as tally:
            fleet.client.submit(study_of("repeated", n_trials))
            ledger.check_finished(fleet, "repeated", n_trials, timeout_s=600)
        proxy.settle()
        for fault, n in proxy.faults.items():
            if fault != "none":
                ledger.fault(f"requests: {fault}", n)
        assert sum(n for fault, n in proxy.faults.items() if fault != "none") >= n_faults
    ledger.check_stored(fleet)
    ledger.check("I11", tally.errors, n=n_trials)
