"""The exit watchdog, in a separate process because it ends its process."""

from __future__ import annotations

import subprocess
import sys

HANGS = """
import signal, threading
from tunefleet_worker.agent.exit_watchdog import ExitWatchdog
watchdog = ExitWatchdog(0.2)
signal.signal(signal.SIGTERM, lambda *_: watchdog.arm())
for _ in range({n_signals}):
    signal.raise_signal(signal.SIGTERM)
print("hangs", flush=True)
lock = threading.Lock()
lock.acquire(timeout={wait_s})
lock.acquire(timeout={wait_s})
print("goes on", flush=True)
"""


def run(**values: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HANGS.format(**values)], capture_output=True, text=True, timeout=60)


def test_armed_watchdog_ends_a_hanging_process() -> None:
    for n_signals in (1, 3):
        ran = run(n_signals=n_signals, wait_s=600)
        assert (ran.returncode, ran.stdout) == (0, "hangs\n")
        assert "the worker did not stop within 0.2 s" in ran.stderr


def test_watchdog_that_is_not_armed_does_nothing() -> None:
    ran = run(n_signals=0, wait_s=0.5)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "hangs\ngoes on\n", "")
