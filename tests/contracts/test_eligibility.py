"""Eligibility of workers: requirements, filters, fair share, and explanations of unclaimed studies."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from tunefleet.protocol import HeartbeatRequest, StudyPatch, WorkerFacts, WorkerView
from tunefleet_master.services.execution import heartbeats
from tunefleet_master.services.planning import study_control
from tunefleet_master.services.reading import status, studies, workers

RESTING = "rests: 3 different trials failed here in a row (study/0, study/1, study/2)"


def unclaimed(master: Any, name: str = "study") -> str:
    reason: str = master.read(lambda uow: studies.read(uow, name)).unclaimed
    return reason


def beat(master: Any, worker: str = "w1", **facts: Any) -> None:
    parsed = WorkerFacts.parse({"allow_code": True, **facts})
    master.ask(heartbeats.beat, HeartbeatRequest(worker=worker, facts=parsed))


def seen(master: Any) -> dict[str, WorkerView]:
    return {view.name: view for view in master.read(workers.page)}


def test_a_study_reports_why_it_is_unclaimed_until_a_worker_can_take_it(master: Any) -> None:
    master.submit()
    assert unclaimed(master).startswith("no worker is alive; start one")
    beat(master)
    assert unclaimed(master) == ""
    master.pass_time(61)
    assert unclaimed(master).startswith("no worker is alive (w1 was heard last, 1 min 01 s ago)")


def test_an_unmet_requirement_is_named_in_the_study_and_in_the_status(master: Any) -> None:
    master.submit(name="large", resources={"gpus": 2})
    master.submit(name="small")
    beat(master, gpus_per_slot=1)
    of_all = {view.name: view.unclaimed for view in master.read(status.read).studies}
    assert of_all == {
        "large": "it needs a worker that has 2 GPUs in a slot; the one that is alive does not",
        "small": "",
    }


def test_a_rest_counts_from_its_heartbeat_and_expires(master: Any) -> None:
    master.submit()
    beat(master, resting_s=40.0, status=RESTING)
    master.skip_time(10)
    assert unclaimed(master) == f"worker w1 rests for 30 s more ({RESTING})"
    assert seen(master)["w1"].rests_until == master.now + timedelta(seconds=30)
    master.skip_time(30)
    assert unclaimed(master) == ""
    assert seen(master)["w1"].rests_until is None


def test_a_leaving_worker_does_not_count_as_alive(master: Any) -> None:
    master.submit()
    beat(master, is_leaving=True, status="draining")
    assert unclaimed(master).startswith("no worker is alive (w1 left ")


def test_a_study_without_claimable_trials_is_not_reported_as_unclaimed(master: Any) -> None:
    master.submit(budget={"trials": 1})
    [lease] = master.claim()
    master.skip_time(61)
    assert unclaimed(master) == "", "its last trial runs"
    master.complete(lease, loss=1.0)
    assert unclaimed(master) == ""
    master.submit(name="paused")
    master.call(study_control.change, "paused", StudyPatch(state="paused"))
    assert unclaimed(master, "paused") == ""


def test_a_fleet_larger_than_the_first_read_is_read_completely(master: Any) -> None:
    master.submit(resources={"labels": ["a100"]})
    for number in range(60):
        beat(master, f"w{number:02}")
    assert unclaimed(master).endswith("none of the 60 alive does")
    beat(master, "w99", labels=["a100"])
    assert unclaimed(master) == ""


def test_the_explanation_agrees_with_what_a_claim_gets(master: Any) -> None:
    master.submit(resources={"gpus": 1, "labels": ["a100"]}, budget={"trials": 50})
    outcomes = set()
    for gpus, labels, allow_code in itertools.product((0, 1, 2), ((), ("a100",), ("b", "a100")), (False, True)):
        facts = WorkerFacts(gpus_per_slot=gpus, labels=labels, allow_code=allow_code)
        is_claimed = bool(master.claim(f"w{gpus}-{len(labels)}-{allow_code}", facts=facts))
        assert (unclaimed(master) == "") is is_claimed, facts
        outcomes.add(is_claimed)
        master.skip_time(61)
    assert outcomes == {True, False}


def test_a_worker_of_one_study_takes_no_other_whatever_its_priority(master: Any) -> None:
    master.submit(name="a")
    master.submit(name="b", priority=9)
    for _ in range(4):
        [lease] = master.claim(study="a")
        assert lease.study == "a"
    assert master.claim(study="a") == []
    assert master.claim()[0].study == "b"


def test_a_study_that_a_worker_cannot_run_does_not_block_one_that_it_can(master: Any) -> None:
    master.submit(name="large", resources={"gpus": 8}, priority=9)
    master.submit(name="labelled", resources={"labels": ["a100"]}, priority=5)
    master.submit(name="small")
    assert [lease.study for lease in master.claim(slots=9)] == ["small"] * 4
    able = WorkerFacts(allow_code=True, gpus_per_slot=8, labels=("a100",))
    assert [lease.study for lease in master.claim(facts=able, slots=9)] == ["large"] * 4 + ["labelled"] * 4


def test_a_later_study_catches_up_with_one_of_the_same_priority(master: Any) -> None:
    master.submit(name="early", budget={"trials": 20})
    master.claim(slots=3)
    master.submit(name="late", budget={"trials": 20})
    assert [lease.study for lease in master.claim("w2", slots=5)] == ["late", "late", "late", "early", "late"]
