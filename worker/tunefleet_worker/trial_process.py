"""Turn a fresh process into a trial's own: apart from its agent, and gone with it."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Literal

from tunefleet.protocol import Lease

_STDOUT, _STDERR = 1, 2


def detach(life: Path) -> None:
    """Give the process a session and a process group of its own, and tie its life to its agent's.

    Signals that a terminal, systemd or a batch system sends to the whole worker are left to the agent, which tells the
    trial what to do.
    """
    os.setsid()
    _lock(life)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave_to_agent)
    os.register_at_fork(after_in_child=_obey_signals)
    agent = multiprocessing.parent_process()
    if agent is not None:
        _die_with(agent.sentinel)


def send_output(log: Connection) -> None:
    """Let everything that is printed go to the agent, also from C code and from processes that the trial starts."""
    for stream in (_STDOUT, _STDERR):
        os.dup2(log.fileno(), stream)
    log.close()
    sys.stdout = open(_STDOUT, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(_STDERR, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115


def use_devices(gpus: tuple[str, ...], threads: int) -> Literal["cpu", "cuda"]:
    """Show the process its slot's GPUs and no others, and let it use its share of the cores; where it is to train."""
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as nvidia-smi counts
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    for library in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[library] = str(threads)
    if not gpus and "torch" not in sys.modules:
        return "cpu"  # a trial that imports it later finds the variables
    import torch

    torch.set_num_threads(threads)
    if gpus and not torch.cuda.is_available():
        print("[tunefleet] the slot has a GPU that the installed torch cannot use; training on the CPU", flush=True)
    return "cuda" if gpus and torch.cuda.is_available() else "cpu"


def export_credentials(lease: Lease, url: str) -> None:
    """Let what the trial starts reach the master as this attempt, and never as the worker."""
    os.environ["TUNEFLEET_URL"] = url
    os.environ["TUNEFLEET_TRIAL_ID"] = str(lease.trial_id)
    os.environ.pop("TUNEFLEET_TOKEN", None)
    if lease.token is not None:
        os.environ["TUNEFLEET_TOKEN"] = lease.token


def _lock(life: Path) -> None:
    """Hold the file for as long as this process, or one that it forked, lives."""
    file = os.open(life, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(file, str(os.getpid()).encode())
    fcntl.flock(file, fcntl.LOCK_EX)


def _leave_to_agent(number: int, frame: FrameType | None) -> None:
    """Do nothing; a handler and not SIG_IGN, which programs that the trial starts would inherit."""


def _obey_signals() -> None:
    """In a process that the trial forks (a data loader's worker), signals mean what they always mean."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is _leave_to_agent:
            signal.signal(number, signal.SIG_DFL)


def _die_with(sentinel: int) -> None:
    """End this process and all that it started when the other end of the pipe `sentinel` closes."""
    if hasattr(fcntl, "F_SETSIG"):
        # The kernel does it, so that it happens also while C code holds the interpreter. PR_SET_PDEATHSIG would not do:
        # the parent is the forkserver, not the agent.
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)
        if not wait([sentinel], timeout=0):
            return  # it closes later, and the signal comes then
    threading.Thread(target=_wait_and_die, args=(sentinel,), name="die-with-agent", daemon=True).start()


def _wait_and_die(sentinel: int) -> None:
    wait([sentinel])
    os.killpg(os.getpgrp(), signal.SIGKILL)
