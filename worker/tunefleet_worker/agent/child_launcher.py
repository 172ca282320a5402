"""Training processes as an agent has them: started from a forkserver, listened to, ended with all that they started."""

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
from tunefleet_worker.orders import Order, OrderLine

PRELOAD = "tunefleet_worker.preload"
PRELOAD_LEAN = "tunefleet_worker.preload_lean"
_PIECE_BYTES = 1 << 20
_MAX_FOLDER = 60  # characters: a socket's path has at most 107, and Python appends some 40 of its own
_forkserver: Any = forkserver._forkserver
_resource_tracker: Any = resource_tracker._resource_tracker
_VMSTAT = Path("/proc/vmstat")


class ChildLauncher:
    """Starts training processes; each is a fork of one process that has imported everything and done nothing.

    Args:
        main: what a process runs, with its job, the pipe that it prints to, and `orders`.
        preload: import torch at the start, so that no trial waits for it.
    """

    def __init__(self, main: Callable[..., None], *, preload: bool = True) -> None:
        self._main = main
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOAD if preload else PRELOAD_LEAN])
        self._lock = threading.Lock()
        # A check of torch's for CUDA then asks the driver's library, and leaves CUDA alone until after the fork.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"

    def warm_up(self) -> None:
        """Start the forkserver, which imports for some seconds; returns at once."""
        with self._lock, _short_temporary_folder():
            forkserver.ensure_running()

    def close(self) -> None:
        """End the forkserver and wait for it, so that whoever waits for the agent finds no process of it."""
        # Python has no public way to do it: both would go by themselves, some time after this process.
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
        on_bell: Callable[[], None],
        on_end: Callable[[int | None, bool], None],
    ) -> Child:
        """Start a process.

        Args:
            job: for it.
            log: takes what it prints.
            on_bell: called when its spool has grown.
            on_end: called once when it is gone, with its exit code and whether the system killed for memory meanwhile.
        """
        printed, log_end = self._context.Pipe(duplex=False)
        ours, theirs = self._context.Pipe(duplex=True)
        process = self._context.Process(target=self._main, args=(job, log_end), kwargs={"orders": theirs})
        with self._lock:
            process.start()
        log_end.close()
        theirs.close()
        child = Child(process, log, printed=printed, orders=OrderLine(ours))
        child.watch(on_bell=on_bell, on_end=on_end)
        return child


class Child:
    """One training process."""

    def __init__(self, process: ForkServerProcess, log: CappedLog, *, printed: Connection, orders: OrderLine) -> None:
        self._process = process
        self._log = log
        self._printed = printed
        self._orders = orders
        self._kills_before = _kills_for_memory()

    def tell(self, order: Order) -> None:
        """Give it an order; it obeys at its next report or epoch."""
        self._orders.send(order)

    def kill(self) -> None:
        """End it and all that it started."""
        pid = cast("int", self._process.pid)
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has no group of its own yet, or is gone
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def watch(self, *, on_bell: Callable[[], None], on_end: Callable[[int | None, bool], None]) -> None:
        """Listen to it in a thread until it is gone."""
        args = (on_bell, on_end)
        threading.Thread(target=self._watch, args=args, name=f"child-{self._process.pid}", daemon=True).start()

    def _watch(self, on_bell: Callable[[], None], on_end: Callable[[int | None, bool], None]) -> None:
        os.set_blocking(self._printed.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._printed, selectors.EVENT_READ)
            selector.register(self._orders.file, selectors.EVENT_READ)
            selector.register(self._process.sentinel, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._printed in ready and not self._take_print():
                    selector.unregister(self._printed)
                if self._orders.file in ready:
                    if not self._orders.hear():
                        selector.unregister(self._orders.file)
                    on_bell()
                if self._process.sentinel in ready:
                    break
        self._reap()
        on_end(self._process.exitcode, _kills_for_memory() > self._kills_before)

    def _reap(self) -> None:
        """Reap it, end what it left running, and read what these printed last."""
        self._process.join()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(cast("int", self._process.pid), signal.SIGKILL)
        while self._take_print():
            pass
        self._printed.close()
        self._orders.close()

    def _take_print(self) -> bool:
        """Move what was printed to the log; False when there is nothing, or never will be."""
        try:
            text = os.read(self._printed.fileno(), _PIECE_BYTES)
        except BlockingIOError:
            return False
        self._log.add(text)
        return text != b""


def _kills_for_memory() -> int:
    """How many processes the system has killed for memory since it started; 0 where it does not tell."""
    try:
        lines = _VMSTAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


@contextlib.contextmanager
def _short_temporary_folder() -> Iterator[None]:
    """Where batch systems set a long TMPDIR, put the forkserver's socket under /tmp, since its path would not fit."""
    configured = tempfile.tempdir
    if len(os.fsencode(tempfile.gettempdir())) > _MAX_FOLDER:
        tempfile.tempdir = "/tmp"
    try:
        yield
    finally:
        tempfile.tempdir = configured
