"""A function of one's own through `tunefleet up`: packed, run on local workers, its model fetched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)

TRAIN = """\
from settings import OFFSET


def train(trial, x, scale=1.0):
    for step in trial.epochs():
        print("step", step, flush=True)
        trial.report(loss=(x - OFFSET) ** 2 * scale + 1 / (step + 1))
    kept = trial.folder / "model.txt"
    kept.write_text(str(x))
    trial.save("model.txt", kept)
"""

STUDY = """\
name: own
objective: {metric: loss, goal: minimize, value: last}
run: {function: "train:train", code: .}
space:
  x: {float: [0, 1]}
  scale: {choice: [1, 2], when: "x > 0.5"}
steps: 3
budget: {trials: 6}
search: {sampler: random, seed: 3}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    (folder / "settings.py").write_text("OFFSET = 0.25\n")
    (folder / "study.yaml").write_text(STUDY)
    return folder


def tunefleet(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunefleet", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_function_is_tuned_and_the_study_goes_on_at_the_next_start(project: Path, tmp_path: Path) -> None:
    up = (
        "up",
        project / "study.yaml",
        "--once",
        "--port",
        "0",
        "--workers",
        "2",
        "--slots",
        "1",
        "--data",
        tmp_path / "data",
    )
    ran = tunefleet(*up, cwd="/")
    assert ran.returncode == 0, ran.stderr
    assert "own: 6/6 trials, complete" in ran.stderr
    again = tunefleet(*up, "--workers", 1)
    assert again.returncode == 0, again.stderr
    assert "own: 6/6 trials, complete" in again.stderr


def test_a_function_that_raises_ends_with_code_one_and_its_reason(project: Path, tmp_path: Path) -> None:
    (project / "train.py").write_text("def train(trial, x, scale=1):\n    raise RuntimeError('no luck')\n")
    ran = tunefleet("up", project / "study.yaml", "--once", "--port", "0", "--data", tmp_path / "data")
    assert ran.returncode == 1
    assert "no luck" in ran.stderr


def test_the_same_function_runs_alone(project: Path) -> None:
    script = (
        "import json, tunefleet, train\n"
        "trial = tunefleet.LocalTrial(steps=3)\n"
        "trial.quiet = True\n"
        "train.train(trial, x=0.25)\n"
        "print(json.dumps(trial.reports))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=project, capture_output=True, text=True, check=True, env={**os.environ}
    )
    reports = json.loads(ran.stdout.splitlines()[-1])
    assert [metrics["loss"] for _, metrics in reports] == pytest.approx([1, 1 / 2, 1 / 3])
