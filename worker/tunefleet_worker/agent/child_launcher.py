"""Launcher of training processes: start them from a forkserver, watch them, and end them with their descendants."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import selectors
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, cast

from tunefleet_worker.logfile import CappedLog
from tunefleet_worker.orders import Order, OrderSender

PRELOAD = "tunefleet_worker.preload"
PRELOAD_LEAN = "tunefleet_worker.preload_lean"
_CHUNK_BYTES = 1 << 20
_MAX_FOLDER_CHARACTERS = 60  # a socket's path has at most 107 characters, and Python appends about 40
_forkserver: Any = forkserver._forkserver
_resource_tracker: Any = resource_tracker._resource_tracker
_VMSTAT = Path("/proc/vmstat")


class ChildLauncher:
    """Starts training processes, each as a fork of one process that has only imported modules.

    Args:
        main: the function that a process runs, with its job, the pipe for its output, and `orders`.
        preload: import torch at the start, so that no trial waits for the import.
    """

    def __init__(self, main: Callable[..., None], *, preload: bool = True) -> None:
        self._main = main
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOAD if preload else PRELOAD_LEAN])
        self._lock = threading.Lock()
        # torch.cuda.is_available() then asks NVML, and does not initialise CUDA before the fork.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"

    def warm_up(self) -> None:
        """Start the forkserver, which takes seconds to import; return at once."""
        with self._lock, _short_temporary_folder():
            forkserver.ensure_running()

    def close(self) -> None:
        """End the forkserver and wait for it, so that no process outlives the agent."""
        # Python has no public API for this: both would end by themselves, some time after this process.
        with contextlib.suppress(AttributeError, OSError):
            os.kill(_forkserver._forkserver_pid, signal.SIGKILL)
        for helper in (_forkserver, _resource_tracker):
            with contextlib.suppress(AttributeError, OSError):
                helper._stop()

    def start(
        self,
        job: object,
        log: CappedLog,
        *,
        on_record: Callable[[], None],
        on_end: Callable[[int | None, bool], None],
    ) -> Child:
        """Start a process.

        Args:
            job: the trial to run.
            log: receives the output.
            on_record: called when the spool has grown.
            on_end: called once after the process ends, with its exit code and whether the system's OOM killer ran.
        """
        output, log_end = self._context.Pipe(duplex=False)
        ours, theirs = self._context.Pipe(duplex=True)
        process = self._context.Process(target=self._main, args=(job, log_end), kwargs={"orders": theirs})
        with self._lock:
            process.start()
        log_end.close()
        theirs.close()
        child = Child(process, log, output=output, orders=OrderSender(ours))
        child.watch(on_record=on_record, on_end=on_end)
        return child


class Child:
    """One training process."""

    def __init__(self, process: ForkServerProcess, log: CappedLog, *, output: Connection, orders: OrderSender) -> None:
        self._process = process
        self._log = log
        self._output = output
        self._orders = orders
        self._oom_kills_before = _oom_kills()

    def send_order(self, order: Order) -> None:
        """Send an order; the process obeys at its next report or epoch."""
        self._orders.send(order)

    def kill(self) -> None:
        """Kill the process and its descendants."""
        pid = cast("int", self._process.pid)
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # the process has no group of its own yet, or has ended
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def watch(self, *, on_record: Callable[[], None], on_end: Callable[[int | None, bool], None]) -> None:
        """Watch the process in a thread until it ends."""
        args = (on_record, on_end)
        threading.Thread(target=self._watch, args=args, name=f"child-{self._process.pid}", daemon=True).start()

    def _watch(self, on_record: Callable[[], None], on_end: Callable[[int | None, bool], None]) -> None:
        os.set_blocking(self._output.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            selector.register(self._orders.file, selectors.EVENT_READ)
            selector.register(self._process.sentinel, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._output in ready and not self._read_output():
                    selector.unregister(self._output)
                if self._orders.file in ready:
                    if not self._orders.clear_notifications():
                        selector.unregister(self._orders.file)
                    on_record()
                if self._process.sentinel in ready:
                    break
        self._reap()
        on_end(self._process.exitcode, _oom_kills() > self._oom_kills_before)

    def _reap(self) -> None:
        """Wait for the process, kill its remaining descendants, and read their last output."""
        self._process.join()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(cast("int", self._process.pid), signal.SIGKILL)
        while self._read_output():
            pass
        self._output.close()
        self._orders.close()

    def _read_output(self) -> bool:
        """Move output to the log; return False when there is none, or the pipe is closed."""
        try:
            text = os.read(self._output.fileno(), _CHUNK_BYTES)
        except BlockingIOError:
            return False
        self._log.add(text)
        return text != b""


def _oom_kills() -> int:
    """Return how many processes the OOM killer has killed since boot; 0 where the system does not report it."""
    try:
        lines = _VMSTAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


@contextlib.contextmanager
def _short_temporary_folder() -> Iterator[None]:
    """Put the forkserver's socket under /tmp where TMPDIR is too long for a socket's path."""
    configured = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > _MAX_FOLDER_CHARACTERS:
        tempfile.tempdir = "/tmp"
    try:
        yield
    finally:
        tempfile.tempdir = configured
