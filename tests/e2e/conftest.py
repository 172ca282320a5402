"""A fleet of real processes: one master, any number of workers, each killed as a machine would lose it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from tunefleet import Client, Study
from tunefleet.errors import MasterUnreachable

T = TypeVar("T")
MARK = "FLEET_OF_TEST"


@dataclass
class Fleet:
    """Processes of one test; all of them, and their children's children, carry a mark in their environment."""

    folder: Path
    lease_s: float = 6.0
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    url: str = ""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_master(self) -> None:
        """Start the master, on the port that it had before if it was started before."""
        announced = self.folder / "url"
        announced.unlink(missing_ok=True)
        port = self.url.rpartition(":")[2] or "0"
        options = ["--port", port, "--data", str(self.folder / "master"), "--lease-s", str(self.lease_s)]
        self._start("master", "tunefleet_master", "serve", *options, "--announce", str(announced))
        self.wait(lambda: announced.exists() and announced.read_text().strip(), "the master listens")
        self.url = announced.read_text().strip()

    def start_worker(self, name: str, *options: str) -> None:
        """Start a worker of one slot; the same name again is the same worker with its folder."""
        folder = str(self.folder / name)
        fixed = ["--name", name, "--folder", folder, "--allow-code", "--gpus", "none", "--threads", "1"]
        self._start(name, "tunefleet_worker", "run", self.url, *fixed, *options)

    def _start(self, name: str, *module: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *module],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self.mark},
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """`kill -9` of the one process; its children are left to notice."""
        self.processes[name].kill()
        self.processes[name].wait()

    def log(self, name: str) -> str:
        """What a process has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    @cached_property
    def client(self) -> Client:
        """For the fleet's master, which keeps its address."""
        return Client(self.url)

    def submit(self, code: str, **changes: Any) -> Study:
        """Submit a study that runs `train` of this code."""
        source = self.folder / "code"
        source.mkdir(exist_ok=True)
        (source / "train.py").write_text(code)
        spec = {
            "name": "study",
            "objective": {"metric": "loss", "goal": "minimize"},
            "run": {"function": "train:train", "code": str(source)},
            "space": {"x": {"float": [0, 1]}},
            "budget": {"trials": 1},
        }
        return self.client.submit({**spec, **changes})

    def wait(self, condition: Callable[[], T], what: str, *, timeout_s: float = 60.0) -> T:
        """Look until the condition is true, and give its value; a master that is away is waited for."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            with suppress(MasterUnreachable):
                if value := condition():
                    return value
            time.sleep(0.05)
        logs = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.processes)
        raise AssertionError(f"not within {timeout_s:g} s: {what}\n{logs}")

    def alive(self) -> list[psutil.Process]:
        """Every process of this fleet that runs still."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def close(self) -> None:
        """End everything that this test started."""
        self.client.close()
        self.client.close()
        for left in self.alive():
            with suppress(psutil.Error):
                left.send_signal(signal.SIGKILL)
        for process in self.processes.values():
            process.wait()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A master that runs; workers are started by the test."""
    fleet = Fleet(tmp_path)
    fleet.start_master()
    yield fleet
    fleet.close()
