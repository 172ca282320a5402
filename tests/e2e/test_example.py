"""The example in examples/pytorch: alone with LocalTrial, and as a study on three workers."""

from __future__ import annotations

import difflib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tunefleet.client.client import Client
from tunefleet.protocol import StudyState, TrialDetail, TrialState

FOLDER = Path(__file__).parents[2] / "examples" / "pytorch"

ALONE = """
import json, sys
import train
from tunefleet import LocalTrial

for wanted in json.load(sys.stdin):
    trial = LocalTrial(steps=wanted["steps"], seed=wanted["seed"], params=wanted["params"])
    trial.quiet = True
    train.train(trial, **wanted["params"])
    print(json.dumps(trial.reports))
"""


def _curves_alone(trials: list[TrialDetail]) -> list[list[tuple[int, dict[str, float]]]]:
    """What the function reports with LocalTrial, in a process of its own, for the same parameters and seeds."""
    wanted = [{"steps": 5, "seed": trial.seed, "params": trial.params} for trial in trials]
    ran = subprocess.run(
        [sys.executable, "-c", ALONE],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        cwd=FOLDER,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [[(step, metrics) for step, metrics in json.loads(line)] for line in str(ran.stdout).splitlines()]


def test_fewer_than_ten_lines_turn_the_plain_script_into_a_study() -> None:
    plain, study = ((FOLDER / name).read_text().splitlines() for name in ("plain.py", "train.py"))
    matcher = difflib.SequenceMatcher(None, plain, study, autojunk=False)
    changed = sum(max(b - a, d - c) for kind, a, b, c, d in matcher.get_opcodes() if kind != "equal")

    assert 0 < changed < 10


def test_the_script_runs_alone_and_gives_the_numbers_of_the_plain_one() -> None:
    with ThreadPoolExecutor() as pool:
        plain, study = pool.map(_printed, ("plain.py", "train.py"))

    assert len(plain) == len(study) == 5
    assert [line.split()[-1] for line in plain] == [line.split()[-1] for line in study]


def _printed(script: str) -> list[str]:
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=FOLDER, check=True)
    return str(ran.stdout).splitlines()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_through_a_master_and_three_workers_the_curves_are_those_of_a_local_trial(fleet: Any) -> None:
    for index in range(3):
        fleet.start_worker(f"worker-{index}", "--slots", "1")
    with Client(fleet.url) as client:
        fleet.wait(lambda: len(client.workers()) == 3, "three workers ask for work")
        study = client.submit(FOLDER / "study.yaml")
        view = study.wait(timeout_s=300)
        trials = [study.trial(trial.number) for trial in study.trials()]

    assert view.state is StudyState.COMPLETE
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 12
    fleet_curves = [[(point.step, point.metrics) for point in trial.curve] for trial in trials]
    assert fleet_curves == _curves_alone(trials)
