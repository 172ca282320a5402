"""A watchdog that bounds the time until exit, whatever hangs: a call, a lock, a process that cannot be killed."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time

WATCHDOG_SHARE = 0.98  # of the time for a drain: after every step of an orderly exit


class ExitWatchdog:
    """Ends this process a fixed time after it was armed.

    Training processes end with their agent. Records that were not delivered stay in the worker's folder.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._armed: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._watch, name="exit-watchdog", daemon=True).start()

    def arm(self) -> None:
        """Start the timer; later calls have no effect. Safe in a signal handler."""
        self._armed.put(None)

    def _watch(self) -> None:
        self._armed.get()
        time.sleep(self._within_s)
        sys.stderr.write(f"the worker did not stop within {self._within_s:.1f} s; exiting now\n")
        sys.stderr.flush()
        os._exit(0)
