"""A training function does what it must not; the trial fails with its reason, and the worker goes on."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.protocol import Failure, StudyState, TrialState

CASES = {
    "raises": (
        "def train(trial, x):\n    raise ValueError('the tensors disagree')\n",
        Failure.ERROR,
        "ValueError: the tensors disagree",
    ),
    "exits": ("import sys\ndef train(trial, x):\n    sys.exit(3)\n", Failure.ERROR, "3"),
    "exits-hard": ("import os\ndef train(trial, x):\n    os._exit(7)\n", Failure.ERROR, "7"),
    "segfaults": (
        "import os, signal\ndef train(trial, x):\n    os.kill(os.getpid(), signal.SIGSEGV)\n",
        Failure.ERROR,
        "SIGSEGV",
    ),
    "runs-out-of-memory": (
        "def train(trial, x):\n    raise MemoryError('no room')\n",
        Failure.OUT_OF_MEMORY,
        "no room",
    ),
    "diverges": (
        "def train(trial, x):\n    for step in trial.epochs():\n"
        "        trial.report(loss=float('nan') if step == 3 else 1.0)\n",
        Failure.DIVERGED,
        "loss was nan at step 3",
    ),
    "never-returns": ("import time\ndef train(trial, x):\n    time.sleep(600)\n", Failure.TIMEOUT, "trial_timeout"),
    "reports-nothing": ("def train(trial, x):\n    pass\n", Failure.ERROR, "'loss' was never reported"),
    "prints-a-gigabyte": (
        "def train(trial, x):\n    line = 'x' * 1023 + chr(10)\n"
        "    for _ in range(1024):\n        print(line * 1024, end='')\n"
        "    print('the last word')\n    raise ValueError('after a gigabyte')\n",
        Failure.ERROR,
        "after a gigabyte",
    ),
}


GOOD = "def train(trial, x):\n    trial.report(loss=x)\n"


@pytest.mark.timeout(600)
def test_each_failure_has_its_reason_and_the_worker_goes_on(fleet: Any) -> None:
    fleet.start_worker("w0", "--no-preload")
    for name, (code, failure, reason) in CASES.items():
        limit = "3s" if name == "never-returns" else "2m"
        study = fleet.submit(code, name=name, steps=10, trial_timeout=limit, retry={"error": 0})
        fleet.wait(lambda study=study: study.view().state is StudyState.COMPLETE, f"{name} has ended", timeout_s=240)
        trial = study.trial(0)
        assert (trial.state, trial.failure) == (TrialState.FAILED, failure), (name, trial.message)
        assert reason in trial.message, (name, trial.message)

        good = fleet.submit(GOOD, name=f"after-{name}")
        fleet.wait(lambda good=good: good.view().trials == {TrialState.COMPLETE: 1}, f"a good trial after {name}")

    raised = fleet.client.study("raises").trial(0)
    assert "train.py" in raised.attempts[0].log_tail
    noisy = fleet.client.study("prints-a-gigabyte").trial(0)
    assert "the last word" in noisy.attempts[0].log_tail
    [log] = [artifact for artifact in noisy.artifacts if artifact.name == "log.txt"]
    assert log.size_bytes < 2_000_000


def test_a_worker_that_fails_three_trials_in_a_row_rests_says_so_and_tries_again(fleet: Any) -> None:
    fleet.start_worker("w0", "--no-preload", "--rest", "3")
    # Three failures at three places: neither the study's fault by the master's rule, nor one trial's.
    lines = "".join(f"    if trial.number == {i}:\n        raise ValueError('broken')\n" for i in range(3))
    code = f"def train(trial, x):\n{lines}    trial.report(loss=x)\n"
    study = fleet.submit(code, budget={"trials": 9}, retry={"error": 0})
    [worker] = fleet.wait(lambda: [w for w in fleet.client.workers() if w.rests_until], "the worker says that it rests")
    assert worker.facts.status == "rests: 3 different trials failed here in a row (study/0, study/1, study/2)"
    assert "worker w0 rests for" in study.view().unclaimed
    assert study.view().trials[TrialState.FAILED] == 3
    fleet.wait(lambda: study.view().state is StudyState.COMPLETE, "the study is complete")
    assert study.view().trials == {TrialState.COMPLETE: 6, TrialState.FAILED: 3}
    assert study.view().message == "the budget of 9 trials is spent; 3 of 9 trials failed"
    fleet.wait(lambda: not fleet.client.workers()[0].facts.status, "the worker is well again")


def test_the_same_exception_in_three_trials_pauses_the_study_and_not_the_worker(fleet: Any) -> None:
    fleet.start_worker("w0", "--no-preload")
    study = fleet.submit(
        "def train(trial, x):\n    raise ValueError('broken')\n", budget={"trials": 9}, retry={"error": 0}
    )
    fleet.wait(lambda: study.view().state is StudyState.PAUSED, "the study is paused")
    assert "the same exception in 3 trials" in study.view().message
    assert "train.py:2" in study.view().message
    good = fleet.submit(GOOD, name="good")
    fleet.wait(lambda: good.view().trials == {TrialState.COMPLETE: 1}, "the worker goes on")
