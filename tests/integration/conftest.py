"""A master with everything in it: in this process for most tests, as a process of its own where that matters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from tests.warm import WarmProcess

from tunefleet.client.client import Client
from tunefleet_master.app import create_app
from tunefleet_master.settings import Settings

API = "/api/v1"
STARTS_WITHIN_S = 120.0
ENDS_WITHIN_S = 60.0


def study_of(**changes: Any) -> dict[str, Any]:
    """A small study; keys given replace its own."""
    study: dict[str, Any] = {
        "name": "study",
        "objective": {"metric": "val_accuracy", "goal": "maximize"},
        "run": {"task": "image_classification", "dataset": "digits"},
        "space": {"lr": {"log": [1e-5, 1e-1]}, "optimizer": ["sgd", "adam"]},
        "steps": 5,
        "search": {"sampler": "random"},
        "budget": {"trials": 4},
    }
    return {**study, **changes}


class Api:
    """Speaks JSON with a master, as a program in any language would."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(API + path, **options)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.http.post(API + path, json=body, **options)

    @staticmethod
    def study_of(**changes: Any) -> dict[str, Any]:
        """What `submit` sends."""
        return study_of(**changes)

    def submit(self, **changes: Any) -> dict[str, Any]:
        """Submit a study and give what stands."""
        answer = self.post("/studies", study_of(**changes))
        assert answer.is_success, answer.text
        study: dict[str, Any] = answer.json()
        return study

    def claim(self, worker: str = "w1", *, slots: int = 1, wait_s: float = 20.0, **more: Any) -> list[dict[str, Any]]:
        """Claim as a worker does; the planner may need a moment, so it waits."""
        answer = self.post("/claims", {"worker": worker, "slots": slots, "wait_s": wait_s, **more})
        assert answer.is_success, answer.text
        leases: list[dict[str, Any]] = answer.json()["leases"]
        return leases

    def report(self, lease: dict[str, Any], step: int, **metrics: float | str) -> httpx.Response:
        body = {"attempt": lease["attempt"], "reports": [{"step": step, "metrics": metrics}]}
        return self.post(f"/trials/{lease['trial_id']}/reports", body)

    def complete(self, lease: dict[str, Any], **metrics: float) -> httpx.Response:
        return self.post(f"/trials/{lease['trial_id']}/complete", {"attempt": lease["attempt"], "metrics": metrics})

    def put_file(self, lease: dict[str, Any], name: str, content: bytes, sha256: str, **headers: str) -> httpx.Response:
        return self.http.put(
            f"{API}/trials/{lease['trial_id']}/artifacts/{name}",
            params={"attempt": lease["attempt"], "sha256": sha256},
            content=content,
            headers=headers,
        )


@pytest.fixture
def settings(tmp_path: Path, migrated_url: str) -> Settings:
    return Settings(
        data=tmp_path / "master", database=migrated_url, max_body_bytes=100_000, max_artifact_bytes=3_000_000
    )


@pytest.fixture
def api(settings: Settings) -> Iterator[Api]:
    """A master in this process."""
    with TestClient(create_app(settings), "http://127.0.0.1", raise_server_exceptions=False) as http:
        yield Api(http)


class MasterProcess:
    """`tunefleet-master serve` on a free port.

    Args:
        is_cold: start a program of its own instead of a fork of one that has imported everything.
    """

    def __init__(self, folder: Path, *options: str, is_cold: bool = False) -> None:
        self.folder = folder
        self.log = folder / "master.log"
        self.log.write_bytes(b"")
        announced = folder / "url"
        arguments = ["serve", "--port", "0", "--data", str(folder / "data"), "--announce", str(announced), *options]
        self.process = _program(arguments, self.log) if is_cold else WarmProcess(arguments, self.log, os.environ)
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not announced.exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "the master does not come up"
            time.sleep(0.02)
        self.url = announced.read_text().strip()

    def stop(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Stop it; gives its exit code, and how long it took."""
        began = time.monotonic()
        self.process.send_signal(by)
        return self.process.wait(ENDS_WITHIN_S), time.monotonic() - began


def _program(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen([sys.executable, "-m", "tunefleet_master", *arguments], stdout=output, stderr=output)


@pytest.fixture
def start_master(tmp_path: Path) -> Iterator[Callable[..., MasterProcess]]:
    """Start masters of their own; they are gone at the end of the test."""
    started: list[MasterProcess] = []

    def start(*options: str, folder: Path = tmp_path, is_cold: bool = False) -> MasterProcess:
        started.append(MasterProcess(folder, *options, is_cold=is_cold))
        return started[-1]

    yield start
    for master in started:
        master.process.kill()
        master.process.wait()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A master in a process of its own, with real connections, shared by a module's tests."""
    master = MasterProcess(tmp_path_factory.mktemp("live"))
    with httpx.Client(base_url=master.url, timeout=60) as http:
        yield Api(http)
    master.process.kill()
    master.process.wait()


@pytest.fixture(scope="module")
def master_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MasterProcess]:
    """A master in a process of its own with short leases, for a module's tests; each study needs a name of its own."""
    master = MasterProcess(tmp_path_factory.mktemp("master"), "--lease-s", "2")
    yield master
    master.process.kill()
    master.process.wait()


@pytest.fixture
def client(master_process: MasterProcess) -> Iterator[Client]:
    """A client of that master."""
    with Client(master_process.url) as made:
        yield made


@pytest.fixture
def study_name(request: pytest.FixtureRequest) -> str:
    """A study's name that no other test uses."""
    name = "".join(char if char.isascii() and char.isalnum() else "-" for char in request.node.name)
    return name[-90:].strip("-")
