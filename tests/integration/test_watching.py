"""A trial's telemetry: stored as a file, read back as data by the API, the client, the command line and the page."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
from tests.commands import tunefleet
from tests.integration.conftest import Api

from tunefleet.client.client import Client
from tunefleet.protocol.telemetry import TELEMETRY, Telemetry

SEEN: dict[str, Any] = {
    "updates": 5,
    "step": [0, 1, 2, 3, 4],
    "epoch": [0, 0, 1, 1, 2],
    "samples": [32] * 5,
    "grad_norm": [1.0, 2.0, 3.0, 4.0, "Infinity"],
    "tensors": [
        {"name": "0.weight", "shape": [8, 4], "update_ratio": [0.5, 0.4, 0.004, 0.006, 0.005]},
        {"name": "2.weight", "shape": [3, 8], "update_ratio": [0.5, 0.4, 0.2, 0.2, 0.2]},
        {"name": "2.bias", "shape": [3], "update_ratio": [None, 0.4, 0.3, 0.3, 0.3]},
    ],
    "layers": [
        {"name": "0.relu", "kind": "relu", "mean": [0.1] * 5, "std": [1.0] * 5, "idle": [0.0, 0.0, 0.25, 0.25, 0.5]}
    ],
    "notes": ["the model has 301 layers; one in 4 is observed."],
}


def store(api: Api, lease: dict[str, Any], content: bytes) -> None:
    answer = api.put_file(lease, TELEMETRY, content, hashlib.sha256(content).hexdigest())
    assert answer.status_code == 201, answer.text


@pytest.fixture
def lease(api: Api) -> dict[str, Any]:
    api.submit()
    return api.claim()[0]


def test_telemetry_is_read_back_as_it_was_stored(api: Api, lease: dict[str, Any]) -> None:
    store(api, lease, json.dumps(SEEN).encode())
    answer = api.get(f"/trials/{lease['trial_id']}/telemetry")
    assert answer.status_code == 200
    read = Telemetry.model_validate_json(answer.content)
    assert read == Telemetry.model_validate(SEEN)
    assert read.typical(read.tensors[0].update_ratio) == 0.005
    assert answer.json()["grad_norm"][-1] == "Infinity"


def test_a_trial_without_telemetry_is_told_how_to_have_some(api: Api, lease: dict[str, Any]) -> None:
    answer = api.get(f"/trials/{lease['trial_id']}/telemetry")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "has no file 'telemetry.json'" in answer.json()["detail"]
    assert "trial.watch(model, optimizer)" in answer.json()["hint"]
    assert api.get("/trials/999/telemetry").status_code == 404


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x80\x04K\x01.", "is not telemetry"),
        (b'{"updates": 1}', "step: is required"),
        (json.dumps({**SEEN, "step": [0]}).encode(), "every column needs one number for each of the 1"),
        (json.dumps({**SEEN, "more": 1}).encode(), "unknown key 'more'"),
        (b" " * 3_000_000, "is not telemetry"),
    ],
)
def test_a_file_that_is_no_telemetry_is_not_taken_for_one(
    api: Api, lease: dict[str, Any], content: bytes, says: str
) -> None:
    store(api, lease, content)
    answer = api.get(f"/trials/{lease['trial_id']}/telemetry")
    assert answer.status_code == 404
    assert says in answer.json()["detail"]
    assert api.http.get(f"/trials/{lease['trial_id']}").status_code == 200


def test_the_page_of_a_trial_draws_what_was_seen(api: Api, lease: dict[str, Any]) -> None:
    store(api, lease, json.dumps(SEEN).encode())
    api.report(lease, 0, val_accuracy=0.5, **{"watch.update_ratio": 0.004})
    text = api.http.get(f"/trials/{lease['trial_id']}", headers={"Accept": "text/html"}).text
    assert "<h2>Telemetry</h2>" in text
    titles = re.findall(r"<figcaption><strong>([^<]*)</strong>", text)
    assert titles == [
        "accuracy",
        "update to weight, median tensor",
        "gradient norm before clipping",
        "idle units, worst layer",
    ]


def test_the_client_and_the_command_line_show_it(live: Api) -> None:
    live.submit(name="inside")
    held = live.claim()[0]
    store(live, held, json.dumps(SEEN).encode())
    url = str(live.http.base_url)
    with Client(url) as client:
        assert client.study("inside").telemetry(0) == Telemetry.model_validate(SEEN)
    shown, plain = (tunefleet("telemetry", "inside", "0", *options, url=url) for options in ([], ["--json"]))
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["0.weight", "8×4", "0.005"] in lines
    assert ["2.weight", "3×8", "0.2", "above", "0.03"] in lines
    assert ["2.bias", "3", "0.3"] in lines
    assert ["0.relu", "0.1", "1", "25"] in lines
    assert "Recorded 5 of 5 updates" in shown.stderr
    assert json.loads(plain.stdout)["tensors"][0]["name"] == "0.weight"
