"""`tunefleet demo`: from nothing to a scored model, and nothing left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.timeout(600)

DEMO = [sys.executable, "-m", "tunefleet", "demo"]


def environment(folder: Path) -> dict[str, str]:
    """Temporary files in the test's folder, where they can be counted; a mark to find the processes by."""
    return {**os.environ, "TMPDIR": str(folder), "DEMO_TEST_MARK": str(folder)}


def left_running(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DEMO_TEST_MARK") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def test_the_demo_ends_with_a_model_that_gives_its_test_accuracy_again(tmp_path: Path, scratch: Path) -> None:
    out = tmp_path / "out"
    ran = subprocess.run(
        [*DEMO, "--json", "--out", str(out)], capture_output=True, text=True, check=False, env=environment(scratch)
    )
    assert ran.returncode == 0, ran.stderr
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert set(result) == {"study", "trials", "best", "clinic", "elapsed_s"}
    assert result["trials"]["complete"] >= 12
    best = result["best"]
    assert set(best) == {"number", "params", "val_accuracy", "test_accuracy", "model"}
    assert best["val_accuracy"] >= 0.97
    assert best["test_accuracy"] >= 0.95
    assert Path(best["model"]).is_file()
    assert Path(best["model"]).parent == out
    assert "12/12 trials" in ran.stderr
    assert "best configuration" in ran.stderr
    assert result["clinic"]["preflight_passed"]
    assert result["clinic"]["findings"]
    assert result["clinic"]["looked_at"] == 256
    assert "preflight passed" in ran.stderr
    assert "step is wrong about" in ran.stderr
    assert (out / "look.svg").read_text(encoding="utf-8").startswith("<svg")

    again = subprocess.run(
        [sys.executable, "-m", "tunefleet_worker", "test", str(out), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(again.stdout)["test_accuracy"] == best["test_accuracy"]
    assert left_running(scratch) == []
    assert list(scratch.glob("tunefleet-*")) == []


def test_a_demo_that_is_interrupted_leaves_nothing(tmp_path: Path, scratch: Path) -> None:
    demo = subprocess.Popen(
        [*DEMO, "--out", str(tmp_path / "out")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(scratch),
    )
    assert demo.stderr is not None
    said = ""
    while "0/12 trials" not in said:
        line = demo.stderr.readline()
        assert line, said
        said += line
    demo.send_signal(signal.SIGINT)
    _, rest = demo.communicate(timeout=180)
    assert demo.returncode == 130
    assert "No process is left running" in rest
    assert left_running(scratch) == []
    assert list(scratch.glob("tunefleet-*")) == []


def test_nothing_outlives_a_demo_that_was_killed(tmp_path: Path, scratch: Path) -> None:
    demo = subprocess.Popen(
        [*DEMO, "--out", str(tmp_path / "out")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(scratch),
    )
    assert demo.stderr is not None
    while "running" not in demo.stderr.readline():
        assert demo.poll() is None
    demo.kill()
    demo.wait()
    demo.stderr.close()
    deadline = time.monotonic() + 180
    while left_running(scratch):
        assert time.monotonic() < deadline, left_running(scratch)
        time.sleep(0.1)
