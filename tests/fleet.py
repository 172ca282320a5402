"""A fleet of real processes: masters on SQLite or Postgres, and workers, each killed as a machine would lose it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests.journaled import journaled
from tests.warm import WarmProcess
from tunefleet import Client, Study
from tunefleet.client.journal import VARIABLE as JOURNAL
from tunefleet.errors import MasterUnreachable
from tunefleet.failpoints import VARIABLE as FAILPOINTS

T = TypeVar("T")
MARK, NAME = "FLEET_OF_TEST", "PROCESS_OF_TEST"
ENDS_WITHIN_S = 120.0


@dataclass
class Fleet:
    """Processes of one test; all of them, and their children's children, carry a mark in their environment.

    Attributes:
        database: of Postgres; None: SQLite in the folder.
        masters: the address of each master that was started, which it keeps.
        front: what stands before the masters, if anything does.
        environment: more of it, for all processes that are started from now on.
    """

    folder: Path
    lease_s: float = 6.0
    database: str | None = None
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    masters: dict[str, str] = field(default_factory=dict)
    front: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where workers and clients find the master."""
        return self.front or next(iter(self.masters.values()))

    @property
    def data(self) -> Path:
        """The folder of the masters, which share it."""
        return self.folder / "master"

    @property
    def journal(self) -> Path:
        """What workers and clients were promised."""
        return self.folder / "journal.jsonl"

    def start_master(self, name: str = "master", *, failpoints: str = "") -> None:
        """Start a master, on the port that it had before if it was started before."""
        self.begin_master(name, failpoints=failpoints)
        self.wait(lambda: self._announced(name), f"{name} listens")
        self.masters[name] = self._announced(name)

    def begin_master(self, name: str = "master", *, failpoints: str = "") -> None:
        """Start it, and do not wait until it listens; one that is new must be waited for with `start_master`."""
        announced = self.folder / f"{name}.url"
        announced.unlink(missing_ok=True)
        port = self.masters.get(name, "").rpartition(":")[2] or "0"
        options = ["--port", port, "--data", str(self.data), "--lease-s", str(self.lease_s)]
        options += ["--database", self.database] if self.database else []
        self._start(
            name,
            *("tunefleet_master", "serve", *options, "--announce", str(announced)),
            environment={FAILPOINTS: failpoints},
        )

    def start_worker(self, name: str, *options: str, failpoints: str = "") -> None:
        """Start a worker of one slot; the same name again is the same worker with its folder."""
        folder = str(self.folder / name)
        fixed = ["--name", name, "--folder", folder, "--allow-code", "--gpus", "none", "--threads", "1"]
        environment = {FAILPOINTS: failpoints, JOURNAL: str(self.journal)}
        self._start(name, "tunefleet_worker", "run", self.url, *fixed, *options, environment=environment)

    def kill(self, name: str) -> None:
        """`kill -9` of the one process; its children are left to notice."""
        self.processes[name].kill()
        self.processes[name].wait()

    def stop(self, name: str) -> int:
        """SIGTERM, and the exit code."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(ENDS_WITHIN_S)

    def has_ended(self, name: str) -> bool:
        """Whether the process is gone."""
        return self.processes[name].poll() is not None

    def log(self, name: str) -> str:
        """What a process has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    @cached_property
    def client(self) -> Client:
        """For the fleet's masters, which keep their address."""
        return Client(transport=journaled(self.url, self.journal, retry_for_s=20.0))

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
            "search": {"sampler": "random"},
            "budget": {"trials": 1},
        }
        return self.client.submit({**spec, **changes})

    def wait(self, condition: Callable[[], T], what: str, *, timeout_s: float = 120.0) -> T:
        """Look until the condition is true, and give its value; a master that is away is waited for."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            with suppress(MasterUnreachable):
                if value := condition():
                    return value
            time.sleep(0.05)
        logs = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.processes)
        raise AssertionError(f"not within {timeout_s:g} s: {what}\n{logs}")

    def alive(self, name: str | None = None) -> list[psutil.Process]:
        """Every process of this fleet that runs still, or only those that one of its processes has started."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                marks = process.environ()
                is_ours = marks.get(MARK) == self.mark and (name is None or marks.get(NAME) == name)
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def close(self) -> None:
        """End everything that this test started."""
        if self.masters:
            self.client.close()
        while left := self.alive():  # one that is just being forked is found in the next turn
            for process in left:
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
            for ended in self.processes.values():
                ended.poll()
        for ended in self.processes.values():
            ended.wait()

    def _announced(self, name: str) -> str:
        if self.has_ended(name):
            raise AssertionError(f"{name} ended with {self.processes[name].poll()}:\n{self.log(name)[-3000:]}")
        file = self.folder / f"{name}.url"
        return file.read_text().strip() if file.exists() else ""

    def _start(self, name: str, *module: str, environment: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *module],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self.mark, NAME: name, **environment, **self.environment},
                start_new_session=True,
            )


class WarmFleet(Fleet):
    """A fleet whose masters are forked from a process that has imported everything."""

    def close(self) -> None:
        """End everything that this test started; a forked process does not carry the mark, so masters end by name."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
        super().close()

    def _start(self, name: str, *module: str, environment: dict[str, str]) -> None:
        if module[0] != "tunefleet_master":
            super()._start(name, *module, environment=environment)
            return
        variables = {**os.environ, **environment, **self.environment}
        made: Any = WarmProcess(module[1:], self.folder / f"{name}.log", variables)
        self.processes[name] = made


def on_this_machine(seconds: float) -> float:
    """Return a limit in seconds of an idle machine, multiplied by the processes that share each core now."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or waits only to be reaped by its parent."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
