"""Child processes of one command, which stop in order and never outlive the command."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tunefleet.errors import TunefleetError

DRAIN_S = 30.0  # a worker exits within 25 s after SIGTERM
POLL_S = 0.05
TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ChildFailed(TunefleetError):
    """A child process ended unexpectedly."""

    code = "child_failed"


class Interrupted(KeyboardInterrupt):
    """The command received SIGINT, SIGTERM or SIGHUP."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process that leads its own process group and writes its output to a file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def has_ended(self) -> bool:
        """True when the process has ended."""
        return self.process.poll() is not None

    def tail(self) -> str:
        """Return the last lines of the output."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])


@dataclass
class ProcessTree:
    """Child processes in the order of their start; `stop` ends them in reverse order.

    On Linux the kernel sends SIGTERM to each child when this process dies, even by `kill -9`.
    """

    log_folder: Path
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Child:
        """Start `python -m arguments` in its own session, so that the terminal's Ctrl-C does not reach it."""
        self.log_folder.mkdir(parents=True, exist_ok=True)
        log = self.log_folder / f"{name}.log"
        with contextlib.suppress(FileNotFoundError):  # keep the log of the previous run
            log.replace(log.with_suffix(".log.1"))
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**self.environment, **(environment or {})},
                start_new_session=True,
                preexec_fn=_terminate_with_parent(os.getpid()),
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def check(self) -> None:
        """Raise ChildFailed when a child has ended."""
        for child in self.children:
            if child.has_ended:
                raise ChildFailed(f"{child.name} ended with status {child.process.returncode}.\n{child.tail()}")

    def stop(self) -> None:
        """End the children, the last one first: send SIGTERM, wait up to DRAIN_S, then send SIGKILL."""
        while self.children:
            child = self.children[-1]
            _send_signal(child, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(DRAIN_S)
            _kill_group(child)
            self.children.pop()

    def kill(self) -> None:
        """Kill all children at once."""
        for child in self.children:
            _kill_group(child)


@contextlib.contextmanager
def process_tree(log_folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[ProcessTree]:
    """Open a process tree that stops at the end of the block; by default, children inherit this environment.

    The first SIGINT, SIGTERM or SIGHUP raises Interrupted in the block. A second one kills the remaining children.
    """
    tree = ProcessTree(log_folder, os.environ if environment is None else environment)
    is_stopping = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal is_stopping
        if is_stopping:
            tree.kill()
            return
        is_stopping = True
        raise Interrupted

    before = {number: signal.signal(number, on_signal) for number in _STOP_SIGNALS}
    try:
        yield tree
    finally:
        is_stopping = True
        try:
            tree.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def lock_folder(folder: Path) -> None:
    """Lock a folder until this process ends, so that no other command overwrites its logs.

    Raises:
        TunefleetError: another command has locked the folder, or the folder is unusable.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TunefleetError(
            f"The folder {folder} cannot be used: {error.strerror}.", hint="Choose another folder: --data DIR."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(file, 20, 0).decode(errors="replace")
        raise TunefleetError(
            f"Another `tunefleet up` (process {owner}) runs with the data in {folder}.",
            hint="Submit to that master with `tunefleet submit`, or choose another folder: --data DIR.",
        ) from error
    os.truncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)


def wait_for_file(path: Path, tree: ProcessTree, *, timeout_s: float) -> str:
    """Return the content of a file that a child writes when it is ready.

    Raises:
        ChildFailed: a child ended first, or the time limit has passed.
    """
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        tree.check()
        if time.monotonic() >= deadline:
            raise ChildFailed(
                f"{tree.children[-1].name} was not ready within {timeout_s:g} s.\n{tree.children[-1].tail()}"
            )
        time.sleep(POLL_S)
    return path.read_text()


def require_component(package: str, extra: str) -> None:
    """Raise TunefleetError, with the install command, when a component of Tunefleet is not installed here."""
    probes = {"master": "sqlalchemy", "worker": "torch"}
    if importlib.util.find_spec(package) is None or importlib.util.find_spec(probes[extra]) is None:
        raise TunefleetError(
            f"The {extra} is not installed here.", hint=f"Install it with: pip install 'tunefleet[{extra}]'"
        )


def run_master(*arguments: str, data: Path | None, database: str | None, as_json: bool) -> int:
    """Run a command of the master's program, which has the tables and the samplers; return its exit code.

    Raises:
        TunefleetError: the master is not installed here.
    """
    require_component("tunefleet_master", "master")
    options = [f"--data={data}"] if data is not None else []
    options += [f"--database={database}"] if database is not None else []
    options += ["--json"] if as_json else []
    return subprocess.run([sys.executable, "-m", "tunefleet_master", *arguments, *options]).returncode


def run_worker(*arguments: str) -> int:
    """Run a command of the worker's program, which has torch and the data; return its exit code.

    Raises:
        TunefleetError: the worker is not installed here.
    """
    require_component("tunefleet_worker", "worker")
    return subprocess.run([sys.executable, "-m", "tunefleet_worker", *arguments]).returncode


def _terminate_with_parent(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # the parent died before the call of prctl
                os.kill(os.getpid(), signal.SIGTERM)

    return prepare


def _send_signal(child: Child, number: signal.Signals) -> None:
    if not child.has_ended:
        child.process.send_signal(number)


def _kill_group(child: Child) -> None:
    """Kill the child and all processes that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, signal.SIGKILL)
    child.process.wait()
