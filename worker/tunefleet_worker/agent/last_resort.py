"""A bound on leaving that nothing can hold up: no call that hangs, no lock, no process that cannot be killed."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time

SHARE = 0.98  # of the time for a drain, behind everything that tries to end in order


class LastResort:
    """Ends this process some time after it was armed, whatever it does then.

    Training processes go with it, since they end when their agent does; what was not delivered stays in the worker's
    folder.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._armed: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._watch, name="last-resort", daemon=True).start()

    def arm(self) -> None:
        """Let the time run; only the first call counts. May be called by a signal handler."""
        self._armed.put(None)

    def _watch(self) -> None:
        self._armed.get()
        time.sleep(self._within_s)
        sys.stderr.write(f"not everything ended within {self._within_s:.1f} s; leaving all the same\n")
        sys.stderr.flush()
        os._exit(0)
