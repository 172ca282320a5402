"""Event streams and long polls on real connections."""

from __future__ import annotations

import json
import socket
import threading
import time
from itertools import islice

import httpx
import pytest


def events_in(response: httpx.Response):
    """The events of a stream, as dictionaries with `id`, `event` and `data`."""
    event: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            key, _, value = line.partition(": ")
            event[key] = value
        elif event.get("data"):
            yield {**event, "data": json.loads(event["data"])}
            event = {}


@pytest.fixture
def name(request) -> str:
    return str(request.node.name).replace("_", "-")[:90]


def test_a_study_is_followed_from_its_beginning(live, name) -> None:
    live.submit(name=name)

    with live.http.stream("GET", f"/api/v1/studies/{name}/events") as response:
        first, second = islice(events_in(response), 2)

    assert response.headers["content-type"].startswith("text/event-stream")
    assert (first["event"], first["data"]["kind"]) == ("study.running", "study.running")
    assert (second["event"], second["data"]["trial"]) == ("trial.waiting", 0)
    assert int(first["id"]) == first["data"]["id"] < int(second["id"])


def test_a_stream_continues_after_the_last_event(live, name) -> None:
    live.submit(name=name)
    with live.http.stream("GET", f"/api/v1/studies/{name}/events") as response:
        first, second = islice(events_in(response), 2)

    with live.http.stream("GET", f"/api/v1/studies/{name}/events", headers={"Last-Event-ID": first["id"]}) as response:
        again = next(events_in(response))

    assert again == second


def test_new_events_are_streamed_at_once(live, name) -> None:
    live.submit(name=name)
    with live.http.stream("GET", f"/api/v1/studies/{name}/events") as response:
        events = events_in(response)
        list(islice(events, 5))  # the study, and its four trials that wait

        began = time.monotonic()
        live.http.patch(f"/api/v1/studies/{name}", json={"state": "paused"})
        event = next(events)

    assert event["event"] == "study.paused"
    assert time.monotonic() - began < 5


def test_a_missing_study_has_no_stream(live) -> None:
    answer = live.get("/studies/nothing/events")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_claim_of_a_disconnected_client_takes_nothing(live, name) -> None:
    live.submit(name=name, budget={"trials": 1})
    lease = live.claim("present", study=name)[0]
    body = json.dumps({"worker": "gone", "wait_s": 25, "study": name}).encode()
    head = "POST /api/v1/claims HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}"
    with socket.create_connection((live.http.base_url.host, live.http.base_url.port)) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        while not any(worker["name"] == "gone" for worker in live.get("/workers").json()):
            time.sleep(0.01)

    live.post(f"/trials/{lease['trial_id']}/release", {"attempt": 1})
    again = live.claim("present", study=name)

    assert [(one["trial_id"], one["attempt"]) for one in again] == [(lease["trial_id"], 2)]


def test_many_waiting_claims_share_new_trials(live, name) -> None:
    live.submit(name=name, budget={"trials": 8})
    held = live.claim(slots=8, study=name)
    numbers: list[int] = []
    waiting = [
        threading.Thread(target=lambda n=n: numbers.extend(one["number"] for one in live.claim(f"w{n}", study=name)))
        for n in range(8)
    ]
    for thread in waiting:
        thread.start()

    for lease in held:
        live.post(f"/trials/{lease['trial_id']}/release", {"attempt": 1})
    for thread in waiting:
        thread.join()

    assert sorted(numbers) == list(range(8))


def test_a_large_refused_body_still_gets_its_answer(live) -> None:
    def endless():
        for _ in range(60):
            yield b"x" * 1_000_000

    answer = live.http.put(f"/api/v1/bundles/{'0' * 64}", content=endless())

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
