"""Logs in JSON, as the programs write them: every line is an object, with what it is about as fields."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.integration.conftest import MasterProcess

from tunefleet.client.client import Client

MAX_WAIT_S = 120.0

Line = dict[str, Any]


def lines_of(log: Path) -> list[Line]:
    """All whole lines; fails when one is no object."""
    text = log.read_text()
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    return lines


def line_with(log: Path, text: str) -> Line:
    """The first line whose message has the text; waits for it."""
    end = time.monotonic() + MAX_WAIT_S
    while True:
        found = [line for line in lines_of(log) if text in line["message"]]
        if found:
            return found[0]
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start workers that log in JSON, and give the file of their output; they are gone at the end of the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str, name: str) -> Path:
        options = ["--gpus", "none", "--threads", "1", "--allow-code", "--no-preload", "--folder", str(tmp_path / name)]
        command = [sys.executable, "-m", "tunefleet_worker", "run", url, *options]
        with (tmp_path / f"{name}.log").open("wb") as log:
            process = subprocess.Popen([*command, "--name", name, "--log-format", "json"], stdout=log, stderr=log)
        started.append(process)
        return tmp_path / f"{name}.log"

    yield start
    for process in started:
        process.kill()
        process.wait()


def study_named(name: str) -> dict[str, Any]:
    """A study of one trial."""
    return {
        "name": name,
        "objective": {"metric": "val_accuracy", "goal": "maximize"},
        "run": {"task": "image_classification", "dataset": "digits"},
        "space": {"lr": {"log": [1e-5, 1e-1]}},
        "steps": 1,
        "search": {"sampler": "random"},
        "budget": {"trials": 1},
    }


def claimed(http: httpx.Client, study: str, *, worker: str) -> dict[str, Any]:
    """Submit a study of that name, and claim its trial."""
    http.post("/studies", json=study_named(study)).raise_for_status()
    claim = http.post("/claims", json={"worker": worker, "study": study, "wait_s": 10}).raise_for_status()
    lease: dict[str, Any] = claim.json()["leases"][0]
    return lease


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """A master with short leases that logs all it can, in JSON, and its log."""
    folder = tmp_path_factory.mktemp("chatty")
    master = MasterProcess(folder, "--log-format", "json", "--log-level", "debug", "--lease-s", "1")
    line_with(master.log, "Tunefleet master on")
    with httpx.Client(base_url=f"{master.url}/api/v1", timeout=60) as http:
        yield http, master.log
    assert master.stop()[0] == 0
    assert lines_of(master.log)[-1]["message"]  # what is said at the end is an object, too


def test_every_line_of_the_master_is_an_object_with_time_level_and_message(chatty) -> None:
    http, log = chatty
    claimed(http, "said", worker="w1")

    lines = lines_of(log)

    assert len(lines) > 2
    for line in lines:
        assert {"time", "level", "logger", "message"} <= line.keys()
        assert line["level"] in ("debug", "info", "warning", "error")
        assert line["time"].endswith("+00:00")


def test_a_lost_lease_is_logged_with_its_study_trial_attempt_and_worker(chatty) -> None:
    http, log = chatty
    lease = claimed(http, "logged", worker="short-lived")

    line = line_with(log, "worker short-lived was lost")

    assert line["level"] == "warning"
    assert (line["study"], line["trial"], line["attempt"], line["worker"]) == ("logged", 0, 1, "short-lived")
    assert line["trial_id"] == lease["trial_id"]


def test_at_debug_the_way_of_a_trial_can_be_followed_by_its_fields(chatty) -> None:
    http, log = chatty
    trial_id = claimed(http, "followed", worker="w1")["trial_id"]
    end = {"attempt": 1, "metrics": {"val_accuracy": 0.5}}
    http.post(f"/trials/{trial_id}/complete", json=end).raise_for_status()

    line_with(log, "study followed is complete")

    lines = lines_of(log)
    of_trial = [line["message"] for line in lines if line.get("trial_id") == trial_id]
    assert "given to worker w1" in of_trial[0]
    assert "has ended" in of_trial[-1]
    assert {line["logger"] for line in lines if line.get("study") == "followed"} >= {
        "tunefleet_master.api.claims",
        "tunefleet_master.services.execution.transitions",
    }


def test_what_a_worker_says_of_a_trial_has_the_trial_as_fields(start_worker, master_process, tmp_path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("def train(trial, x):\n    trial.report(loss=x)\n")
    with Client(master_process.url) as client:
        client.submit(
            {
                "name": "of-fields",
                "objective": {"metric": "loss", "goal": "minimize"},
                "run": {"function": "train:train", "code": str(tmp_path / "code")},
                "space": {"x": {"float": [0, 1]}},
                "budget": {"trials": 1},
            }
        )
    log = start_worker(master_process.url, "teller")

    line = line_with(log, "now complete")

    assert (line["study"], line["trial"], line["attempt"], line["worker"]) == ("of-fields", 0, 1, "teller")
    assert "study" not in line_with(log, "slot (cpu)")
    assert {each["worker"] for each in lines_of(log)} == {"teller"}


def test_a_traceback_is_a_field_and_the_event_one_line() -> None:
    code = (
        "import logging; from tunefleet.logs import about; from tunefleet_master import logs\n"
        "logs.configure('info', 'json')\n"
        "try:\n    {}['missing']\n"
        "except KeyError:\n    logging.getLogger('somewhere').exception('it failed', extra=about(trial=3))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    [line] = [json.loads(line) for line in ran.stderr.splitlines()]

    assert (line["message"], line["level"], line["logger"], line["trial"]) == ("it failed", "error", "somewhere", 3)
    assert line["traceback"].startswith("Traceback (most recent call last):\n")
    assert line["traceback"].endswith("KeyError: 'missing'")


def test_text_is_what_a_person_reads_and_stays_the_default(start_master) -> None:
    master = start_master()
    master.stop()

    assert f"Tunefleet master on {master.url}" in master.log.read_text()
    assert not any(line.startswith("{") for line in master.log.read_text().splitlines())
