"""Setup of a training process: a process group of its own, output to the agent, and an end with the agent."""

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
    """Give the process a session and a process group of its own, and end it when its agent ends.

    The process ignores signals that a terminal, systemd or a batch system sends to the whole worker: the agent handles
    them and sends orders.
    """
    os.setsid()
    _lock(life)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore_signal)
    os.register_at_fork(after_in_child=_restore_signals)
    agent = multiprocessing.parent_process()
    if agent is not None:
        _end_with(agent.sentinel)


def send_output(log: Connection) -> None:
    """Redirect all output to the agent, including that of C code and of descendants."""
    for stream in (_STDOUT, _STDERR):
        os.dup2(log.fileno(), stream)
    log.close()
    sys.stdout = open(_STDOUT, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(_STDERR, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115


def use_devices(gpus: tuple[str, ...], threads: int) -> Literal["cpu", "cuda"]:
    """Restrict the process to its slot's GPUs and threads; return the device to train on."""
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as nvidia-smi counts
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    for library in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[library] = str(threads)
    if not gpus and "torch" not in sys.modules:
        return "cpu"  # a trial that imports torch later reads the variables
    import torch

    torch.set_num_threads(threads)
    if gpus and not torch.cuda.is_available():
        print("[tunefleet] the slot has a GPU that the installed torch cannot use; training on the CPU", flush=True)
    return "cuda" if gpus and torch.cuda.is_available() else "cpu"


def export_credentials(lease: Lease, url: str) -> None:
    """Export the master's URL and the attempt's token for descendants, and hide the worker's token."""
    os.environ["TUNEFLEET_URL"] = url
    os.environ["TUNEFLEET_TRIAL_ID"] = str(lease.trial_id)
    os.environ.pop("TUNEFLEET_TOKEN", None)
    if lease.token is not None:
        os.environ["TUNEFLEET_TOKEN"] = lease.token


def _lock(life: Path) -> None:
    """Lock the file until this process and all its forks have ended; write the process id to it."""
    file = os.open(life, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(file, str(os.getpid()).encode())
    fcntl.flock(file, fcntl.LOCK_EX)


def _ignore_signal(number: int, frame: FrameType | None) -> None:
    """Do nothing. A handler, because programs that the trial starts would inherit SIG_IGN."""


def _restore_signals() -> None:
    """Restore the default signal handlers in a fork of the trial, such as a data loader's worker."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is _ignore_signal:
            signal.signal(number, signal.SIG_DFL)


def _end_with(sentinel: int) -> None:
    """Kill this process group when the other end of the pipe `sentinel` closes."""
    if hasattr(fcntl, "F_SETSIG"):
        # The kernel does it, so that it happens also while C code holds the interpreter. PR_SET_PDEATHSIG would not do:
        # the parent is the forkserver, not the agent.
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)
        if not wait([sentinel], timeout=0):
            return  # it closes later, and the signal comes then
    threading.Thread(target=_kill_when_closed, args=(sentinel,), name="end-with-agent", daemon=True).start()


def _kill_when_closed(sentinel: int) -> None:
    wait([sentinel])
    os.killpg(os.getpgrp(), signal.SIGKILL)
