"""A study with a bug is blocked before its budget is spent, at home and by a worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)

TRAIN = """\
import torch
from torch import nn


def train(trial, lr):
    inputs = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    labels = (inputs[:, 0] > 0).long()
    inputs, labels = inputs[: trial.limit_data], labels[: trial.limit_data]
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in trial.epochs(model=model, optimizer=optimizer):
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trial.report(loss=loss)
"""

STUDY = """\
name: {name}
objective: {{metric: loss, goal: minimize}}
run: {{function: "train:train", code: .}}
space: {{lr: {{log: [1.0e-3, 1.0e-1]}}}}
steps: 2
budget: {{trials: 2}}
search: {{sampler: random}}
preflight: {{}}
"""


def project(folder: Path, train: str) -> Path:
    folder.mkdir()
    (folder / "train.py").write_text(train)
    (folder / "study.yaml").write_text(STUDY.format(name=folder.name))
    return folder / "study.yaml"


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return project(tmp_path / "sound", TRAIN)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return project(tmp_path / "broken", TRAIN.replace("        optimizer.step()\n", ""))


def tunefleet(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunefleet", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_worker_spends_the_budget_of_a_sound_study_and_blocks_one_whose_optimizer_takes_no_step(
    sound: Path, broken: Path, tmp_path: Path
) -> None:
    ran = tunefleet("up", sound, broken, "--once", "--port", 0, "--data", tmp_path / "data", "--slots", 1)
    assert ran.returncode == 1
    assert "waiting for its preflight" in ran.stderr
    assert "sound: 2/2 trials, complete" in ran.stderr
    assert "broken: 0/2 trials, blocked (the preflight failed: the optimizer takes no step" in ran.stderr
    assert "tunefleet resume broken --anyway" in ran.stderr
    assert "likely cause: optimizer.step() is not called" in ran.stderr


def test_check_run_tells_the_same_without_a_master(sound: Path, broken: Path) -> None:
    passed, blocked = tunefleet("check", "--run", sound), tunefleet("check", "--run", broken, "--json")
    assert passed.returncode == 0, passed.stderr
    assert "preflight passed: accuracy 1, loss" in passed.stdout
    assert blocked.returncode == 1, blocked.stderr
    report = json.loads(blocked.stdout)
    [branch] = report["preflight"]["branches"]
    assert "step" in [check["code"] for check in branch["checks"] if not check["passed"]]
    assert report["ok"] is False


def test_check_run_says_where_a_function_failed_without_a_traceback_of_ours(broken: Path) -> None:
    (broken.parent / "train.py").write_text("def train(trial, lr):\n    return 1 / 0\n")
    ran = tunefleet("check", "--run", broken)
    assert ran.returncode == 2
    assert "the study's function failed: ZeroDivisionError: division by zero" in ran.stderr
