"""The system calls of a master while it answers: each commit on SQLite waits for the disk (I5)."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

N_WRITES = 20


@pytest.fixture
def strace() -> str:
    """The program that shows system calls."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("there is no strace here to see the master's system calls with")
    return found


def watch(strace: str, pid: int, out: Path) -> subprocess.Popen[str]:
    """Write every sync of the process into a file, with the path that is synced."""
    command = [strace, "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", str(out), "-p", str(pid)]
    watching = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert watching.stderr is not None
    said = watching.stderr.readline()
    if "attached" not in said:
        watching.wait()
        pytest.skip(f"strace may not look at another process here: {said.strip()}")
    return watching


def test_sqlite_syncs_its_log_before_each_answer(start_master: Callable[..., Any], tmp_path: Path, strace: str) -> None:
    master = start_master()
    out = tmp_path / "syncs"
    watching = watch(strace, master.process.pid, out)
    try:
        with httpx.Client(base_url=f"{master.url}/api/v1", timeout=60) as http:
            for number in range(N_WRITES):
                assert http.post("/heartbeats", json={"worker": f"w{number}"}).is_success
    finally:
        watching.terminate()
        watching.communicate()

    end = time.monotonic() + 60
    while (n_syncs := out.read_text().count("tunefleet.db-wal>")) < N_WRITES and time.monotonic() < end:
        time.sleep(0.05)
    assert n_syncs >= N_WRITES
