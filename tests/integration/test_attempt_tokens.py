"""The token of a lease: for the processes of one attempt, and good for that attempt only."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from tests.integration.conftest import Api

from tunefleet.client.client import Client
from tunefleet_master.app import create_app
from tunefleet_master.settings import Settings

TOKEN = "a-long-secret-of-the-worker"
CONTENT = b"a model"
SHA = hashlib.sha256(CONTENT).hexdigest()

PROGRAM = """
import hashlib, json, os, urllib.error, urllib.request

def ask(path, data=None, method=None):
    request = urllib.request.Request(os.environ["TUNEFLEET_URL"] + path, data, method=method)
    request.add_header("Authorization", "Bearer " + os.environ["TUNEFLEET_TOKEN"])
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code

trial, attempt = os.environ["TUNEFLEET_TRIAL_ID"], os.environ["TUNEFLEET_ATTEMPT"]
note = f"?attempt={attempt}&sha256={hashlib.sha256(b'a note').hexdigest()}"
statuses = {
    "own": ask(f"/api/v1/trials/{trial}/artifacts/note.txt{note}", b"a note", "PUT"),
    "all": ask("/api/v1/status"),
}
print("statuses", json.dumps(statuses))
print("is the worker's", SECRET in json.dumps(dict(os.environ)))
with open(os.environ["TUNEFLEET_METRICS"], "a") as file:
    file.write('{"val_accuracy": 1}')
"""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Api]:
    """A master with a token, spoken to by a worker that has it."""
    settings = Settings(data=tmp_path / "guarded", token=TOKEN)
    with TestClient(create_app(settings), "http://127.0.0.1", headers={"Authorization": f"Bearer {TOKEN}"}) as http:
        yield Api(http)


def as_attempt(api: Any, lease: dict[str, Any]) -> Any:
    """The same master, spoken to with the token of the lease."""
    http = TestClient(api.http.app, "http://127.0.0.1", headers={"Authorization": f"Bearer {lease['token']}"})
    return type(api)(http)


def test_an_open_master_gives_no_tokens(api: Any) -> None:
    api.submit()

    assert api.claim()[0]["token"] is None


def test_the_token_of_a_lease_opens_all_that_its_attempt_writes(guarded: Any) -> None:
    guarded.submit()
    lease = guarded.claim()[0]
    own = as_attempt(guarded, lease)

    assert own.report(lease, 0, val_accuracy=0.5).json()["directive"] == "continue"
    assert own.put_file(lease, "model", CONTENT, SHA).status_code == 201
    assert own.get(f"/trials/{lease['trial_id']}/artifacts/model").content == CONTENT
    assert own.get(f"/trials/{lease['trial_id']}").json()["state"] == "running"
    assert own.complete(lease).json()["state"] == "complete"


def test_it_opens_no_other_trial_and_nothing_of_the_fleet(guarded: Any) -> None:
    guarded.submit()
    lease, other = guarded.claim(slots=2)
    own = as_attempt(guarded, lease)

    for answer in (
        own.report(other, 0, val_accuracy=0.5),
        own.put_file(other, "model", CONTENT, SHA),
        own.complete(other),
        own.get(f"/trials/{other['trial_id']}"),
        own.get("/studies/study"),
        own.post("/claims", {"worker": "w1"}),
        own.post("/heartbeats", {"worker": "w1", "leases": []}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_it_writes_for_no_other_attempt_of_its_trial(guarded: Any) -> None:
    guarded.submit()
    lease = guarded.claim()[0]
    own = as_attempt(guarded, lease)
    own.post(f"/trials/{lease['trial_id']}/release", {"attempt": 1})
    again = guarded.claim()[0]
    assert (again["trial_id"], again["attempt"]) == (lease["trial_id"], 2)
    path = f"/trials/{lease['trial_id']}"

    for answer in (
        own.report(again, 0, val_accuracy=0.5),
        own.put_file(again, "model", CONTENT, SHA),
        own.complete(again),
        own.post(f"{path}/fail", {"attempt": 2}),
        own.post(f"{path}/release", {"attempt": 2}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    offset = own.http.head(f"/api/v1{path}/artifacts/model", params={"attempt": 2, "sha256": SHA})
    assert offset.status_code == 403
    assert own.report(lease, 0, val_accuracy=0.5).json()["code"] == "lease_lost"


def test_a_repeated_claim_gives_the_same_token(guarded: Any) -> None:
    guarded.submit()

    first, again = (guarded.claim(request_id="the-same")[0] for _ in range(2))

    assert first["token"] == again["token"]


def test_a_program_gets_the_token_of_its_attempt_and_never_the_workers(start_master: Any, tmp_path: Path) -> None:
    url = start_master("--token", TOKEN).url
    # In two pieces, so that the program does not find it in its own text.
    program = PROGRAM.replace("SECRET", f"{TOKEN[:9]!r} + {TOKEN[9:]!r}")
    (tmp_path / "program.py").write_text(program)
    worker = [sys.executable, "-m", "tunefleet_worker", "run", url, "--gpus", "none", "--allow-code"]
    options = ["--folder", str(tmp_path / "w"), "--exit-when-idle", "2", "--token", TOKEN, "--no-preload"]
    with Client(url, TOKEN) as client:
        study = client.submit(
            {
                "name": "program",
                "objective": {"metric": "val_accuracy", "goal": "maximize"},
                "run": {"command": f"{sys.executable} {tmp_path / 'program.py'}"},
                "space": {"x": {"float": [0, 1]}},
                "search": {"sampler": "random"},
                "budget": {"trials": 1},
            }
        )
        subprocess.run([*worker, *options], check=True, timeout=240, capture_output=True)
        [trial] = study.trials()
    log = httpx.get(
        f"{url}/api/v1/trials/{trial.id}/artifacts/log.txt", headers={"Authorization": f"Bearer {TOKEN}"}
    ).text

    assert json.loads(log.partition("statuses ")[2].splitlines()[0]) == {"own": 201, "all": 403}
    assert "is the worker's False" in log
