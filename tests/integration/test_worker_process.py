"""The worker as a program: how it starts, what it says when it cannot, and what it keeps when it dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.commands import run_program
from tests.fleet import has_ended

from tunefleet.client.client import Client
from tunefleet.errors import MasterUnreachable
from tunefleet.protocol import TrialState
from tunefleet_worker import cli

MAX_WAIT_S = 120.0
COMMAND = [sys.executable, "-m", "tunefleet_worker"]


class Worker:
    """A worker's process and its output."""

    def __init__(self, folder: Path, url: str, *options: str, environment: dict[str, str] | None = None) -> None:
        self.log = folder / "worker.log"
        arguments = ["run", url, "--gpus", "none", "--folder", str(folder / "w"), "--allow-code", "--no-preload"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments, *options], stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )

    def says(self, text: str) -> None:
        self.wait(lambda: text in self.log.read_text())

    def wait(self, holds: Callable[[], Any]) -> Any:
        end = time.monotonic() + MAX_WAIT_S
        while True:
            try:
                if value := holds():
                    return value
            except MasterUnreachable:
                pass
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(by)
        return self.process.wait(MAX_WAIT_S)


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def start(url: str, *options: str, **more: Any) -> Worker:
        started.append(Worker(tmp_path, url, *options, **more))
        return started[-1]

    yield start
    for worker in started:
        worker.process.kill()
        worker.process.wait()


def refused(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """What the program says when it does not start."""
    answer = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=MAX_WAIT_S,
        env={**os.environ, **(environment or {})},
    )
    assert answer.returncode == 2, answer
    assert "Traceback" not in answer.stderr
    return answer.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_worker_says_who_it_is_is_healthy_and_leaves_when_told(start, tmp_path, master_process, client, study_name):
    name = study_name[:40]
    worker = start(master_process.url, "--name", name, "--slots", "2", "--labels", "fast,small")
    worker.says(f"worker {name}: 2 slots (cpu) for {master_process.url}")
    [seen] = worker.wait(lambda: [each for each in client.workers() if each.name == name])
    assert (seen.facts.slots, seen.facts.labels, seen.facts.device) == (2, ("fast", "small"), "cpu")
    assert seen.facts.allow_code
    health = subprocess.run([*COMMAND, "health", "--folder", str(tmp_path / "w")], capture_output=True, text=True)
    assert (health.returncode, health.stdout[:7]) == (0, "healthy")
    assert "another worker runs in" in refused("run", master_process.url, "--folder", str(tmp_path / "w"))
    assert worker.end() == 0


def test_a_worker_that_was_never_there_is_not_healthy(tmp_path):
    health = run_program(cli.run, "health", "--folder", tmp_path)
    assert health.returncode == 1
    assert "never" in health.stderr


def test_a_master_that_is_not_there_is_told_once_and_tried_for_ever(start):
    worker = start(f"http://127.0.0.1:{free_port()}")
    worker.says("Retrying.")
    assert "nothing listens there" in worker.log.read_text()
    assert worker.end() == 0


def test_a_worker_that_waits_for_its_first_answer_leaves_when_told(start):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        worker = start(f"http://127.0.0.1:{deaf.getsockname()[1]}", "--drain-within", "2")
        with deaf.accept()[0]:
            assert worker.end() == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["not-a-url"], "must look like http://HOST:PORT"),
        (["http://127.0.0.1:9", "--gpus", "0,7"], "there is no GPU"),
        (["http://127.0.0.1:9", "--name", "a/b"], "a name begins with a letter or a digit"),
        (["http://127.0.0.1:9", "--labels", "a b"], "a name begins with a letter or a digit"),
        (["http://127.0.0.1:9", "--folder", "/proc/nowhere"], "the worker's folder /proc/nowhere cannot be used"),
    ],
)
def test_what_a_person_gets_wrong_is_explained(arguments, says, tmp_path):
    answer = run_program(cli.run, "run", *arguments, environment={"XDG_CACHE_HOME": str(tmp_path)})
    assert answer.returncode == 2
    assert says in answer.stderr


def test_a_token_that_is_wrong_or_not_for_workers_is_seen_at_once(start_master, tmp_path):
    master = start_master("--token", "the-right-one-of-many-characters")
    with Client(master.url, "the-right-one-of-many-characters") as client:
        reader = client.create_token("board", ["read"]).token

    said = refused("run", master.url, "--token", reader, environment={"XDG_CACHE_HOME": str(tmp_path)})

    assert "'board'" in said
    assert "work" in said

    said = refused("run", master.url, "--token", "wrong", environment={"XDG_CACHE_HOME": str(tmp_path)})
    assert said.startswith("error: ")
    assert "token" in said


def test_a_folder_without_a_model_is_named(tmp_path):
    answer = run_program(cli.run, "test", tmp_path)
    assert answer.returncode == 2
    assert "holds no model" in answer.stderr


SLOW = """
import time, pathlib
def train(trial, x):
    for step in trial.epochs():
        trial.report(loss=float(step))
        while step == 2 and not pathlib.Path({gate!r}).exists():
            time.sleep(0.01)
    print("the end")
"""


def test_a_result_survives_the_master_and_the_agent_and_is_delivered_by_the_next_one(start, start_master, tmp_path):
    port = str(free_port())
    master = start_master("--port", port)
    worker = start(master.url)
    code, gate = tmp_path / "code", tmp_path / "gate"
    code.mkdir()
    (code / "train.py").write_text(SLOW.format(gate=str(gate)))
    spec = {
        "name": "study",
        "objective": {"metric": "loss", "goal": "maximize"},
        "run": {"function": "train:train", "code": str(code)},
        "space": {"x": {"float": [0, 1]}},
        "steps": 4,
        "budget": {"trials": 1},
    }
    with Client(master.url, retry_for_s=0) as client:
        study = client.submit(spec)
        worker.wait(lambda: study.view().trials.get(TrialState.RUNNING) and study.trial(0).last_step == 2)
        master.stop(signal.SIGKILL)
        gate.touch()
        attempt = tmp_path / "w" / "attempts" / "1-1"
        worker.wait(lambda: '"kind":"end"' in (attempt / "spool.jsonl").read_text())
        worker.wait(lambda: (attempt / "log.txt").exists() and "the end" in (attempt / "log.txt").read_text())
        assert worker.end(signal.SIGKILL) == -signal.SIGKILL
        (tmp_path / "url").unlink()
        start_master("--port", port)
        again = start(master.url)
        again.wait(lambda: study.view().trials.get(TrialState.COMPLETE))
        trial = study.trial(0)
        assert (trial.attempt, trial.value) == (1, 3.0)
        assert [point.step for point in trial.curve] == [0, 1, 2, 3]
        study.fetch(trial, "log.txt", to=tmp_path / "log.txt")
        assert (tmp_path / "log.txt").read_text() == "the end\n"
    assert again.end() == 0
    assert list((tmp_path / "w" / "attempts").iterdir()) == []


DEAF = """
import ctypes, os, subprocess
def train(trial, x):
    helper = subprocess.Popen(["sleep", "600"])
    trial.report(loss=1.0, pid=os.getpid(), helper=helper.pid)
    ctypes.PyDLL(None).sleep(600)  # holds the interpreter: no other thread of the process runs
"""


def test_a_process_that_never_comes_back_from_c_dies_with_its_agent_and_so_does_what_it_started(
    start, master_process, client, study_name, tmp_path
):
    worker = start(master_process.url)
    (tmp_path / "train.py").write_text(DEAF)
    study = client.submit(
        {
            "name": study_name,
            "objective": {"metric": "loss", "goal": "minimize"},
            "run": {"function": "train:train", "code": str(tmp_path)},
            "space": {"x": {"float": [0, 1]}},
            "budget": {"trials": 1},
        }
    )
    worker.wait(lambda: study.view().trials.get(TrialState.RUNNING) and study.trial(0).curve)
    [point] = study.trial(0).curve
    worker.end(signal.SIGKILL)
    worker.wait(lambda: has_ended(int(point.metrics["pid"])) and has_ended(int(point.metrics["helper"])))
    study.stop()
