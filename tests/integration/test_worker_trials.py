"""What a worker makes of the code that users send, with a real master and real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunefleet.client.client import Client
from tunefleet.client.study import Study
from tunefleet.protocol import TrialDetail, TrialState

MAX_WAIT_S = 120.0
GOOD = "def train(trial, x):\n    trial.report(loss=1)\n"


def wait(holds: Callable[[], Any], log: Path) -> Any:
    end = time.monotonic() + MAX_WAIT_S
    while not (value := holds()):
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)
    return value


@pytest.fixture(scope="module")
def worker_log(master_process, tmp_path_factory) -> Iterator[Path]:
    """A worker of two slots, shared by the tests; this is where its output is."""
    folder = tmp_path_factory.mktemp("worker")
    options = ["--slots", "2", "--threads", "1", "--allow-code", "--gpus", "none", "--no-preload"]
    command = [sys.executable, "-m", "tunefleet_worker", "run", master_process.url, "--folder", str(folder / "w")]
    with (folder / "log").open("wb") as out:
        process = subprocess.Popen([*command, *options], stdout=out, stderr=out)
    yield folder / "log"
    process.terminate()
    assert process.wait(MAX_WAIT_S) == 0
    assert list((folder / "w" / "attempts").iterdir()) == []


class Bench:
    """Submits a study that runs some code, and waits for what comes of it."""

    def __init__(self, client: Client, name: str, folder: Path, log: Path) -> None:
        self.client, self.name, self.folder, self.log = client, name, folder, log

    def submit(self, code: str, **changes: Any) -> Study:
        (self.folder / "train.py").write_text(code)
        spec = {
            "name": self.name,
            "objective": {"metric": "loss", "goal": "minimize"},
            "run": {"function": "train:train", "code": str(self.folder)},
            "space": {"x": {"float": [0, 1]}},
            "budget": {"trials": 1},
            "retry": {"error": 0},
        }
        return self.client.submit({**spec, **changes})

    def ended(self, study: Study) -> TrialDetail:
        wait(lambda: study.view().finished_at and study.trial(0).finished_at, self.log)
        return study.trial(0)

    def run(self, code: str, **changes: Any) -> TrialDetail:
        return self.ended(self.submit(code, **changes))


@pytest.fixture
def bench(client, study_name, tmp_path, worker_log) -> Iterator[Bench]:
    (tmp_path / "code").mkdir()
    name = study_name[-80:].strip("-")
    yield Bench(client, name, tmp_path / "code", worker_log)
    # The worker is shared, in whatever order tests run; a good trial ends its row of failures before it rests.
    (tmp_path / "good").mkdir()
    good = Bench(client, f"{name}-good", tmp_path / "good", worker_log).run(GOOD)
    assert good.state is TrialState.COMPLETE


def test_a_function_reports_returns_saves_and_prints(bench, tmp_path):
    code = """
def train(trial, x):
    for step in trial.epochs():
        trial.report(loss=x + step)
    print("so far so good")
    (trial.folder / "note.txt").write_text("noted")
    trial.save("note.txt", trial.folder / "note.txt")
    return {"final": 1.5}
"""
    trial = bench.run(code, steps=3)
    x = trial.params["x"]
    assert trial.state is TrialState.COMPLETE
    assert [(point.step, point.metrics["loss"]) for point in trial.curve] == [(0, x), (1, x + 1), (2, x + 2)]
    assert trial.curve[-1].metrics["final"] == 1.5
    for name, text in (("note.txt", "noted"), ("log.txt", "so far so good\n")):
        bench.client.study(bench.name).fetch(trial, name, to=tmp_path / name)
        assert (tmp_path / name).read_text() == text


def test_a_process_is_set_up_for_its_trial_and_knows_no_secrets(bench, monkeypatch):
    code = """
import multiprocessing, os, random, torch

def double(connection):
    connection.send(2 * connection.recv())

def train(trial, x):
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    helper = multiprocessing.get_context("fork").Process(target=double, args=(theirs,))
    helper.start()
    ours.send(21)
    answer = ours.recv()
    helper.join()
    trial.report(
        loss=0.0, threads=torch.get_num_threads(), answer=answer, leader=float(os.getsid(0) == os.getpid()),
        secret=float("TUNEFLEET_TOKEN" in os.environ), here=float(os.path.exists("train.py")),
        seeded=float(random.random() == random.Random(trial.seed).random()),
    )
"""
    [point] = bench.run(code).curve
    assert point.metrics == {
        "loss": 0,
        "threads": 1,
        "answer": 42,
        "leader": 1,
        "secret": 0,
        "here": 1,
        "seeded": 1,
    }


def test_studies_with_modules_of_the_same_name_do_not_see_each_other(bench):
    assert bench.run(GOOD).value == 1
    bench.name += "-again"
    assert bench.run("def train(trial, x):\n    trial.report(loss=2)\n").value == 2


@pytest.mark.parametrize(
    ("code", "says"),
    [
        # A plain `def` is judged before it is submitted; what comes from elsewhere only when it is imported.
        ("train = lambda trial, y: None\n", "has no argument 'x'"),
        ("import not_there_at_all\ntrain = print\n", "imports 'not_there_at_all', which is not installed"),
        ("def train(trial, x):\n    for _ in trial.epochs(): ...\n", "the study does not set the number of steps"),
        ("def train(trial, x):\n    trial.report(loss='low')\n", "a metric's value is one number"),
        ("def train(trial, x):\n    return {'a b': 1}\n", "a metric's name begins with"),
        (
            "from tunefleet_worker.tasks.datasets.parts import DataChoice, open_test_part\n"
            "def train(trial, x):\n    open_test_part(DataChoice(dataset='digits'))\n",
            "the test part of digits is sealed until the end of the search",
        ),
    ],
)
def test_code_that_does_not_fit_is_explained(bench, code, says):
    trial = bench.run(code)
    assert trial.state is TrialState.FAILED
    assert says in trial.message
    bench.name += "-after"
    assert bench.run(GOOD).value == 1  # the worker goes on; three failures in a row would make it rest


def test_a_study_that_is_stopped_ends_its_trials_and_not_the_worker(bench):
    code = """
import time
def train(trial, x):
    for step in trial.epochs(10_000):
        time.sleep(0.01)
        trial.report(loss=1.0)
"""
    study = bench.submit(code)
    wait(lambda: (study.trial(0).last_step or 0) > 3 if study.view().trials.get(TrialState.RUNNING) else 0, bench.log)
    study.stop()
    assert bench.ended(study).state is TrialState.CANCELLED
    bench.name += "-after"
    assert bench.run("def train(trial, x):\n    trial.report(loss=2)\n").value == 2


def test_a_command_gets_its_parameters_and_its_metrics_are_read(bench):
    (bench.folder / "program.sh").write_text(
        'test "$1" = "--x=$TUNEFLEET_PARAM_X" || exit 5\n'
        'echo "{\\"step\\": 0, \\"loss\\": 2}" >> "$TUNEFLEET_METRICS"\n'
        'echo "{\\"step\\": 1, \\"loss\\": $TUNEFLEET_PARAM_X}" >> "$TUNEFLEET_METRICS"\n'
        "echo done\n"
    )
    trial = bench.run("", run={"command": "sh program.sh --x={x}", "code": str(bench.folder)})
    assert trial.state is TrialState.COMPLETE, trial.message
    assert [point.metrics["loss"] for point in trial.curve] == [2, trial.params["x"]]


def test_a_command_that_fails_says_its_exit_code_and_what_it_printed(bench):
    trial = bench.run("", run={"command": "ls /no/such/place {x}"})
    assert trial.state is TrialState.FAILED
    assert "the program exited with code 2" in trial.message
    assert "/no/such/place" in trial.attempts[0].log_tail


def test_a_command_is_stopped_with_all_that_it_started(bench, tmp_path):
    mark = tmp_path / "alive"
    (bench.folder / "program.sh").write_text(
        f'(while :; do date > "{mark}"; sleep 0.05; done) &\n'
        'echo "{\\"loss\\": 2}" >> "$TUNEFLEET_METRICS"\nsleep 600\n'
    )
    study = bench.submit("", run={"command": "sh program.sh {x}", "code": str(bench.folder)})
    wait(lambda: mark.exists() and study.trial(0).last_step == 0, bench.log)
    study.stop()
    assert bench.ended(study).state is TrialState.CANCELLED
    mark.unlink(missing_ok=True)
    time.sleep(0.2)  # four rounds of what must not run any more
    assert not mark.exists()
