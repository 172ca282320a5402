"""`tunefleet simulate`, run as a command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.commands import Ran, tunefleet_master

STUDY = {
    "name": "s",
    "objective": {"metric": "loss", "goal": "minimize"},
    "run": {"function": "a:b"},
    "space": {"x": {"float": [0.0, 1.0]}, "y": {"float": [0.0, 1.0]}},
    "steps": 9,
    "search": {"sampler": "sobol"},
    "budget": {"trials": 15},
}


def trial(number: int, *, with_curve: bool) -> dict[str, Any]:
    x, y = number / 30, number * 7 % 30 / 30
    curve = [{"step": step, "metrics": {"loss": x + y + 1 / (step + 1)}} for step in range(9)]
    return {
        "number": number,
        "state": "complete",
        "value": x + y + 1 / 9,
        "last_step": 8,
        "params": {"x": x, "y": y},
        "duration_s": 60.0,
        **({"curve": curve} if with_curve else {}),
    }


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    for name, with_curve in (("plain", False), ("curves", True)):
        trials = [trial(number, with_curve=with_curve) for number in range(30)]
        (tmp_path / f"{name}.json").write_text(json.dumps(trials))
    return tmp_path / "study.yaml"


def simulate(study: Path, table: str, *options: str) -> Ran:
    """Run the master's command, which `tunefleet simulate` starts."""
    return tunefleet_master("simulate", str(study), "--table", str(study.with_name(table)), *options)


def test_the_command_of_users_runs_it(study: Path) -> None:
    command = [sys.executable, "-m", "tunefleet", "simulate", str(study), "--table", str(study.with_name("plain.json"))]
    answer = subprocess.run([*command, "--seeds", "2", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == json.loads(simulate(study, "plain.json", "--seeds", "2", "--json").stdout)


def test_the_studys_own_sampler_is_compared_with_random_search(study: Path) -> None:
    answer = simulate(study, "plain.json", "--json", "--seeds", "2")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert {(each["sampler"], each["pruner"]) for each in found["findings"]} == {("sobol", "none"), ("random", "none")}
    assert (found["trials"], found["workers"], found["seeds"], found["table_trials"]) == (15, 8, 2, 30)
    assert simulate(study, "plain.json", "--json", "--seeds", "2").stdout == answer.stdout


def test_pruners_are_compared_where_the_table_has_curves(study: Path) -> None:
    answer = simulate(study, "curves.json", "--sampler", "random", "--pruner", "asha", "--pruner", "none", "--json")
    assert answer.returncode == 0, answer.stderr
    work_s = {each["pruner"]: each["work_s"] for each in json.loads(answer.stdout)["findings"]}
    assert work_s["none"] == pytest.approx(15 * 60)
    assert work_s["asha"] < work_s["none"] / 2


def test_the_default_output_is_a_table(study: Path) -> None:
    answer = simulate(study, "plain.json", "--workers", "2")
    assert "sampler" in answer.stdout
    assert "sobol" in answer.stdout
    assert "15 trials on 2 workers, medians over 5 seeds" in answer.stderr


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--sampler", "sobl"), "--sampler = 'sobl': there is no such sampler to simulate; did you mean 'sobol'?"),
        (("--pruner", "asha"), "--table: has no learning curves, on which a pruner decides"),
        (("--pruner", "assha"), "--pruner = 'assha': there is no such pruner to simulate; did you mean 'asha'?"),
    ],
)
def test_an_invalid_simulation_is_refused_with_a_message(study: Path, options: tuple[str, ...], error: str) -> None:
    answer = simulate(study, "plain.json", *options)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert f"error: {error}" in answer.stderr


def test_a_missing_table_is_named(study: Path) -> None:
    answer = simulate(study, "none.json")
    assert answer.returncode == 2
    assert "error: --table: cannot be read" in answer.stderr
