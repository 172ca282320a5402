"""Claims, reports and ends, over the wire."""

from __future__ import annotations

import threading
import time

import pytest


def test_a_claim_gives_all_that_a_worker_needs(api) -> None:
    api.submit(steps=7)

    lease = api.claim()[0]

    assert (lease["study"], lease["attempt"], lease["steps"]) == ("study", 1, 7)
    assert lease["run"] == {"task": "image_classification", "dataset": "digits"}
    assert set(lease["params"]) == {"lr", "optimizer"}


def test_the_same_request_gives_the_same_leases(api) -> None:
    api.submit()

    first = api.claim(slots=2, request_id="r1")
    again = api.claim(slots=2, request_id="r1")

    assert [lease["trial_id"] for lease in first] == [lease["trial_id"] for lease in again]


def test_a_claim_without_work_is_empty_and_has_the_heartbeat_interval(api) -> None:
    answer = api.post("/claims", {"worker": "w1"}).json()

    assert answer == {"leases": [], "lease_s": 60.0, "heartbeat_s": 10.0}


def test_a_waiting_claim_is_woken_by_a_new_study(api) -> None:
    found = []
    waiting = threading.Thread(target=lambda: found.extend(api.claim(wait_s=20)))
    began = time.monotonic()
    waiting.start()

    api.submit()
    waiting.join()

    assert len(found) == 1
    assert time.monotonic() - began < 10


def test_a_waiting_claim_gives_up_when_its_time_is_over(api) -> None:
    began = time.monotonic()

    assert api.claim(wait_s=0.3) == []

    assert 0.3 <= time.monotonic() - began < 5


def test_a_wait_longer_than_a_long_poll_is_refused(api) -> None:
    answer = api.post("/claims", {"worker": "w1", "wait_s": 600})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "wait_s")


def test_a_trial_is_reported_completed_and_read(api) -> None:
    api.submit()
    lease = api.claim()[0]

    directive = api.report(lease, 0, val_accuracy=0.5).json()
    api.report(lease, 1, val_accuracy=0.8)
    ended = api.complete(lease)

    trial = api.get(f"/trials/{lease['trial_id']}").json()
    assert directive["directive"] == "continue"
    assert ended.json() == {"state": "complete", "failure": None, "study_state": "running"}
    assert (trial["value"], trial["best_step"], trial["worker"]) == (0.8, 1, "w1")
    assert trial["curve"] == [
        {"step": 0, "metrics": {"val_accuracy": 0.5}},
        {"step": 1, "metrics": {"val_accuracy": 0.8}},
    ]
    assert trial == api.get(f"/studies/study/trials/{lease['number']}").json()


def test_completing_again_gives_the_first_answer(api) -> None:
    api.submit()
    lease = api.claim()[0]

    first, again = api.complete(lease, val_accuracy=0.5), api.complete(lease, val_accuracy=0.5)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()


def test_a_stale_attempt_is_refused_everywhere(api) -> None:
    api.submit()
    lease = api.claim()[0]
    api.post(f"/trials/{lease['trial_id']}/release", {"attempt": lease["attempt"]})
    newer = next(one for one in api.claim("w2", slots=4) if one["trial_id"] == lease["trial_id"])

    refused = [
        api.report(lease, 0, val_accuracy=0.1),
        api.complete(lease),
        api.put_file(lease, "model", b"x", "0" * 64),
    ]

    assert newer["attempt"] == 2
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(409, "lease_lost")] * 3


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("written", ["as a token", "as a string"])
def test_numbers_that_json_lacks_end_the_trial_and_come_back_as_strings(api, value, written) -> None:
    api.submit()
    lease = api.claim()[0]
    number = value if written == "as a token" else f'"{value}"'
    body = f'{{"attempt": 1, "reports": [{{"step": 3, "metrics": {{"val_accuracy": {number}}}}}]}}'

    answer = api.http.post(
        f"/api/v1/trials/{lease['trial_id']}/reports", content=body, headers={"Content-Type": "application/json"}
    )
    trial = api.get(f"/trials/{lease['trial_id']}")

    assert (answer.json()["directive"], answer.json()["reason"]) == ("stop", "diverged")
    assert trial.json()["curve"] == [{"step": 3, "metrics": {"val_accuracy": value}}]


def test_heartbeats_name_the_leases_that_are_lost(api) -> None:
    api.submit()
    lease = api.claim()[0]
    held = {"trial_id": lease["trial_id"], "attempt": lease["attempt"]}
    api.post(f"/trials/{lease['trial_id']}/release", {"attempt": lease["attempt"]})

    answer = api.post("/heartbeats", {"worker": "w1", "leases": [held]}).json()

    assert answer["lost"] == [lease["trial_id"]]


def test_trials_are_filtered_sorted_and_paged(api) -> None:
    api.submit()
    for value, lease in zip((0.3, 0.9, 0.6), api.claim(slots=3), strict=True):
        api.complete(lease, val_accuracy=value)

    def listing(**query):
        return api.get("/studies/study/trials", params=query).json()

    best = listing(state="complete", sort="value", descending=True, limit=2)
    rest = listing(state="complete", sort="value", descending=True, limit=2, cursor=best["next"])
    assert [trial["value"] for trial in best["items"] + rest["items"]] == [0.9, 0.6, 0.3]
    assert best["total"] == 3
    rates = [trial["params"]["lr"] for trial in listing(sort="lr")["items"]]
    assert rates == sorted(rates)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"sort": "nothing"}, "sort"),
        ({"state": "odd"}, "state"),
        ({"stat": "waiting"}, "stat"),
        ({"since": "yesterday"}, "since"),
        ({"cursor": "x"}, "cursor"),
    ],
)
def test_a_wrong_query_is_named(api, query, field) -> None:
    api.submit()

    answer = api.get("/studies/study/trials", params=query)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_configurations_by_hand_run_first(api) -> None:
    api.submit()

    added = api.post("/studies/study/trials", {"params": [{"lr": 0.01, "optimizer": "adam"}]})
    again = api.post("/studies/study/trials", {"params": [{"lr": 0.01, "optimizer": "adam"}]})
    wrong = api.post("/studies/study/trials", {"params": [{"lr": 1, "optimizer": "adam"}]})

    assert (added.status_code, added.json()[0]["origin"]) == (201, "user")
    assert api.claim()[0]["params"] == {"lr": 0.01, "optimizer": "adam"}
    assert again.json()["code"] == "duplicate_configuration"
    assert wrong.json()["errors"][0]["field"] == "params.lr"


def test_the_fleet_is_listed_with_what_it_runs(api) -> None:
    api.submit()
    lease = api.claim(facts={"host": "rack1", "device": "NVIDIA H200", "slots": 8})[0]

    worker = api.get("/workers").json()[0]
    status = api.get("/status").json()

    assert (worker["name"], worker["alive"], worker["facts"]["device"]) == ("w1", True, "NVIDIA H200")
    assert [trial["id"] for trial in worker["trials"]] == [lease["trial_id"]]
    assert status["workers"][0]["name"] == "w1"
    assert status["studies"][0]["trials"]["running"] == 1
