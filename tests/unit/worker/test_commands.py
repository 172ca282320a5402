"""A program as a trial: arguments, environment, metrics and exit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tunefleet.errors import InvalidInput
from tunefleet.trial.local_trial import LocalTrial
from tunefleet_worker.commands import CommandError, arguments, run_command


@pytest.fixture
def trial():
    trial = LocalTrial(steps=3, seed=7, params={"lr": 0.1, "optimizer": "sgd; rm -rf x", "nesterov": True})
    trial.quiet = True
    return trial


@pytest.fixture
def program(tmp_path):
    """A Python program as a command."""

    def write(code):
        path = tmp_path / "program.py"
        path.write_text(code)
        return f"{sys.executable} {path}"

    return write


def run(command, trial):
    return run_command(command, trial, check=lambda: None)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train --lr {lr}", ["train", "--lr", "0.1"]),
        ("train '--name={optimizer} {lr}'", ["train", "--name=sgd; rm -rf x 0.1"]),
        ("train --momentum={momentum} {nesterov}", ["train", "true"]),
        ("""awk '{print $1}' {lr}""", ["awk", "{print $1}", "0.1"]),
    ],
)
def test_a_parameter_stays_within_its_word_of_the_command(trial, command, words):
    assert arguments(command, trial.params) == words


def test_environment_has_everything_a_program_needs(trial, program):
    code = """
import json, os
e = os.environ
params = json.loads(e["TUNEFLEET_PARAMS"])
assert params == {"lr": 0.1, "optimizer": "sgd; rm -rf x", "nesterov": True}, params
assert (e["TUNEFLEET_PARAM_LR"], e["TUNEFLEET_PARAM_NESTEROV"]) == ("0.1", "true")
assert (e["TUNEFLEET_SEED"], e["TUNEFLEET_STEPS"], e["TUNEFLEET_TRIAL"]) == ("7", "3", "0")
assert os.path.isdir(e["TUNEFLEET_FOLDER"])
"""
    assert run(program(code), trial) == 0


def test_lines_of_the_metrics_file_are_reports(trial, program):
    code = """
import os
with open(os.environ["TUNEFLEET_METRICS"], "a") as out:
    out.write('{"step": 1, "loss": 0.5}\\n{"loss": 0.25, "acc": 1}\\n\\n{"step": 9, "loss": 0.125}')
"""
    assert run(program(code), trial) == 0
    assert trial.reports == [(1, {"loss": 0.5}), (2, {"loss": 0.25, "acc": 1.0}), (9, {"loss": 0.125})]


@pytest.mark.parametrize("line", ["loss 0.5", "[1]", '{"step": "one", "loss": 1}'])
def test_invalid_line_is_named(trial, program, line):
    code = f"import os\nopen(os.environ['TUNEFLEET_METRICS'], 'w').write('{{\"loss\": 1}}\\n' + {line!r})\n"
    with pytest.raises(InvalidInput, match=r"TUNEFLEET_METRICS, line 2.*a line is one JSON object"):
        run(program(code), trial)


@pytest.mark.parametrize(("code", "exit_code"), [("raise SystemExit(3)", 3), ("import os; os.abort()", -6)])
def test_the_exit_code_is_told(trial, program, code, exit_code):
    assert run(program(code), trial) == exit_code


@pytest.mark.parametrize("command", ["no-such-program-anywhere --x", "{momentum}"])
def test_program_that_cannot_start_is_named(trial, command):
    with pytest.raises(CommandError, match=r"no-such-program-anywhere|no program in it"):
        run(command, trial)


def test_metrics_are_reported_while_the_program_runs(trial, program, tmp_path):
    code = f"""
import os, time
open(os.environ["TUNEFLEET_METRICS"], "w").write('{{"loss": 1}}\\n')
while not os.path.exists({str(tmp_path / "seen")!r}):
    time.sleep(0.01)
"""

    def check():
        if trial.reports:
            Path(tmp_path / "seen").touch()

    assert run_command(program(code), trial, check=check) == 0
