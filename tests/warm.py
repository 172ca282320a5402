"""Masters that are forked from a process which has imported everything: a start takes a third of the CPU time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

from tunefleet import failpoints

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["tests.warm", "tunefleet_master.cli", "tunefleet_master.app", "tunefleet_master.server"]
)


class WarmProcess:
    """`python -m tunefleet_master ARGUMENTS`, forked, with the interface of a `Popen`.

    Args:
        log: the file to which the output is appended.
        environment: all of it.
    """

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._process: ForkServerProcess = _CONTEXT.Process(
            target=_serve, args=(list(arguments), log, dict(environment))
        )
        with pytest.MonkeyPatch.context() as variables:
            variables.setenv(failpoints.VARIABLE, "")  # lets the child set failpoints after the imports
            self._process.start()

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
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)


def _serve(arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    failpoints.traps.update(failpoints.parse(environment.get(failpoints.VARIABLE, "")))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.argv = ["tunefleet-master", *arguments]
    from tunefleet_master import cli

    sys.modules["__main__"] = cli  # a process that the master spawns imports this module, and not the tests' program
    cli.run()
