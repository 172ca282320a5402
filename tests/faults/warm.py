"""Masters that are forked from a process which has imported everything, so that hundreds of starts take little time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import pytest
from tests.fleet import Fleet

from tunefleet import failpoints

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tunefleet_master.cli", "tunefleet_master.app", "tunefleet_master.server"])


class WarmProcess:
    """A forked process with the face of a `Popen`."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(failpoints.VARIABLE, "")  # so that failpoints can be set behind the imports
            process.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return int(self._process.pid or 0)

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutExpired("a warm master", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """`kill -9`."""
        self.send_signal(signal.SIGKILL)


class WarmFleet(Fleet):
    """A fleet whose masters start at once."""

    def close(self) -> None:
        """End everything that this test started; a forked process has not the mark, so the masters are named."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
        super().close()

    def _start(self, name: str, *module: str, environment: dict[str, str]) -> None:
        if module[0] != "tunefleet_master":
            super()._start(name, *module, environment=environment)
            return
        log, variables = self.folder / f"{name}.log", {**environment, **self.environment}
        made: Any = WarmProcess(_CONTEXT.Process(target=_serve, args=(list(module[1:]), log, variables)))
        self.processes[name] = made


def _serve(arguments: list[str], log: Path, variables: dict[str, str]) -> None:
    """Become `python -m tunefleet_master ARGUMENTS`, with the output in a file."""
    os.setsid()
    os.environ.update(variables)
    failpoints.traps.update(failpoints.parse(variables.get(failpoints.VARIABLE, "")))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.argv = ["tunefleet-master", *arguments]
    from tunefleet_master.cli import run

    run()
