"""`tunefleet up`: a process tree that starts, serves, and leaves no process running."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
from tests.commands import tunefleet
from tests.integration.conftest import Api

from tunefleet.client.client import Client

TIMEOUT_S = 120.0
Up = Callable[..., "Running"]


class Running:
    """A running `up` and all its processes."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tunefleet", "up", "--data", str(folder / "data"), *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def url(self) -> str:
        """Return the dashboard's address, once it is printed."""
        self.wait(lambda: "The dashboard:" in self.text)
        found = re.search(r"http://\S+", self.text)
        assert found is not None
        return found[0]

    def family(self) -> list[psutil.Process]:
        """Return the process and all its descendants."""
        leader = psutil.Process(self.process.pid)
        return [leader, *leader.children(recursive=True)]

    def wait(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not holds():
            assert time.monotonic() < deadline, self.text
            assert self.process.poll() is None or holds(), self.text
            time.sleep(0.05)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started: list[Running] = []

    def start(*arguments: str) -> Running:
        started.append(Running(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGTERM)
            one.process.wait(TIMEOUT_S)


def all_gone(family: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(family, timeout=TIMEOUT_S)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_whole_tree(up: Up, number: signal.Signals) -> None:
    running = up("--workers", "0", "--port", "0")
    with Client(running.url()) as client:
        assert client.studies() == []
    family = running.family()
    assert len(family) >= 2
    running.process.send_signal(number)
    assert running.process.wait(TIMEOUT_S) == 0
    assert all_gone(family)
    assert running.text.endswith("Stopped.\n")


def test_nothing_outlives_an_up_that_was_killed(up: Up) -> None:
    running = up("--workers", "0", "--port", "0")
    running.url()
    family = running.family()
    running.process.kill()
    assert all_gone(family)


def test_a_port_used_by_a_master_is_reported(live: Api, tmp_path: Path) -> None:
    port = live.http.base_url.port
    second = tunefleet("up", "--port", port, folder=tmp_path)
    assert second.returncode == 2
    assert f"error: Port {port} of 127.0.0.1 cannot be used: a Tunefleet master already uses it" in second.stderr
    assert "--port 0 for any free one" in second.stderr


def test_a_port_used_by_another_program_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = tunefleet("up", "--port", port, folder=tmp_path)
    assert ran.returncode == 2
    assert "another program, not a Tunefleet master, uses it (address already in use)" in ran.stderr
    assert "hint: Use another port" in ran.stderr


class Foreign(BaseHTTPRequestHandler):
    """A web server that is not a master."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b"who are you?")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def test_a_port_used_by_another_web_server_is_not_taken_for_a_master(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Foreign) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        ran = tunefleet("up", "--port", other.server_port, folder=tmp_path)
        other.shutdown()
    assert ran.returncode == 2
    assert "not a Tunefleet master" in ran.stderr


def test_a_second_up_in_the_same_folder_is_refused_and_the_next_one_keeps_the_logs(up: Up, tmp_path: Path) -> None:
    running = up("--workers", "0", "--port", "0")
    running.url()
    logs = tmp_path / "data" / "logs"
    before = (logs / "master.log").read_text()
    assert before
    second = tunefleet("up", "--data", tmp_path / "data", "--port", 0)
    assert second.returncode == 2
    assert f"error: Another `tunefleet up` (process {running.process.pid}) runs with the data in" in second.stderr
    assert (logs / "master.log").read_text().startswith(before)

    running.process.terminate()
    running.process.wait(TIMEOUT_S)
    following = up("--workers", "0", "--port", "0")
    assert following.url() in (logs / "master.log").read_text()
    assert (logs / "master.log.1").read_text().startswith(before)


def test_an_invalid_study_starts_no_process(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("name: x\n")
    ran = tunefleet("up", tmp_path / "study.yaml", "--data", tmp_path / "data")
    assert ran.returncode == 2
    assert "objective: is required" in ran.stderr
    assert not (tmp_path / "data").exists()


def test_a_dead_master_stops_the_tree_with_its_reason(up: Up) -> None:
    running = up("--workers", "0", "--port", "0")
    running.url()
    family = running.family()
    master = next(process for process in family if "tunefleet_master" in " ".join(process.cmdline()))
    master.kill()
    assert running.process.wait(TIMEOUT_S) == 2
    assert all_gone(family)
    assert "error: master ended with status -9" in running.text


def test_an_unusable_data_folder_is_reported_with_the_masters_message(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tunefleet.db").write_text("no database " * 1000)
    ran = subprocess.run(
        [sys.executable, "-m", "tunefleet", "up", "--data", str(tmp_path / "data"), "--port", "0", "--workers", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "error: master ended with status 2" in ran.stderr
    assert "database" in ran.stderr
