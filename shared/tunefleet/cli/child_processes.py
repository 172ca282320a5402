"""Children of one command: started together, stopped in order, gone when the command is gone, however it ended."""

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

DRAIN_S = 30.0  # a worker is gone 25 s after it was asked
POLL_S = 0.05
TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ChildFailed(TunefleetError):
    """A process of ours ended when it should not have."""

    code = "child_failed"


class Interrupted(KeyboardInterrupt):
    """Somebody asked this command to end."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running process, leader of its own process group, with its output in a file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    def tail(self) -> str:
        """The last lines of its output."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])


@dataclass
class ProcessTree:
    """Children in the order of their start; `stop` ends them in the opposite one.

    On Linux the kernel sends each child SIGTERM when this process dies, even by `kill -9`.
    """

    log_folder: Path
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Child:
        """Start `python -m arguments` in a process group of its own, deaf to the terminal's Ctrl-C."""
        self.log_folder.mkdir(parents=True, exist_ok=True)
        log = self.log_folder / f"{name}.log"
        with contextlib.suppress(FileNotFoundError):  # the last run's stays for whoever asks what happened
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
        """Raise ChildFailed when a child has ended by itself."""
        for child in self.children:
            if child.has_ended:
                raise ChildFailed(f"{child.name} ended with status {child.process.returncode}.\n{child.tail()}")

    def stop(self) -> None:
        """End the children, the last one first: ask, wait up to DRAIN_S for each, then kill."""
        while self.children:
            child = self.children[-1]
            _send_signal(child, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(DRAIN_S)
            _kill_group(child)
            self.children.pop()

    def kill(self) -> None:
        """End everything now."""
        for child in self.children:
            _kill_group(child)


@contextlib.contextmanager
def process_tree(log_folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[ProcessTree]:
    """A tree that is stopped at the end of the block; without an environment, its processes inherit this one's.

    The first SIGINT, SIGTERM or SIGHUP raises Interrupted in the block; one more, while children end, kills them.
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
    """Keep every other command out of a folder, whose logs it would overwrite, until this process ends.

    Raises:
        TunefleetError: another one is in it, or the folder cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TunefleetError(
            f"The folder {folder} cannot be used: {error.strerror}.", hint="Choose another one: --data DIR."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(file, 20, 0).decode(errors="replace")
        raise TunefleetError(
            f"Another `tunefleet up` (process {owner}) runs with the data in {folder}.",
            hint="Submit to that one with `tunefleet submit`, or choose another folder: --data DIR.",
        ) from error
    os.truncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)


def wait_for_file(path: Path, tree: ProcessTree, *, timeout_s: float) -> str:
    """The content of a file that a child writes when it is ready.

    Raises:
        ChildFailed: a child ended first, or the time is over.
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
    """Raise when a component of Tunefleet cannot run here, and say how to install it."""
    probes = {"master": "sqlalchemy", "worker": "torch"}
    if importlib.util.find_spec(package) is None or importlib.util.find_spec(probes[extra]) is None:
        raise TunefleetError(
            f"The {extra} is not installed here.", hint=f"Install it with: pip install 'tunefleet[{extra}]'"
        )


def run_master(*arguments: str, data: Path | None, database: str | None, as_json: bool) -> int:
    """Let the master's own program do what needs its tables or its samplers; its exit code.

    Raises:
        TunefleetError: the master is not installed here.
    """
    require_component("tunefleet_master", "master")
    options = [f"--data={data}"] if data is not None else []
    options += [f"--database={database}"] if database is not None else []
    options += ["--json"] if as_json else []
    return subprocess.run([sys.executable, "-m", "tunefleet_master", *arguments, *options]).returncode


def run_worker(*arguments: str) -> int:
    """Let the worker's own program do what needs torch or the data; its exit code.

    Raises:
        TunefleetError: the worker is not installed here.
    """
    require_component("tunefleet_worker", "worker")
    return subprocess.run([sys.executable, "-m", "tunefleet_worker", *arguments]).returncode


def _terminate_with_parent(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it died before we asked to hear of it
                os.kill(os.getpid(), signal.SIGTERM)

    return prepare


def _send_signal(child: Child, number: signal.Signals) -> None:
    if not child.has_ended:
        child.process.send_signal(number)


def _kill_group(child: Child) -> None:
    """Kill what is left of the child and everything that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, signal.SIGKILL)
    child.process.wait()
