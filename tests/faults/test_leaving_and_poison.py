"""Workers that are told to go, and trials that take their process down each time."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from tests.fleet import on_this_machine

from tunefleet.protocol import TrialState

DRAINS_WITHIN_S = 25.0

COUNTING = """
import time

class Counter:
    n = 0
    def state_dict(self): return {"n": self.n}
    def load_state_dict(self, state): self.n = state["n"]

def train(trial, x):
    counter = Counter()
    for step in trial.epochs(counter=counter):
        counter.n += 1
        time.sleep(0.05)
        trial.report(loss=x + 1 / counter.n, count=counter.n)
"""

# One crashes by itself, another is killed by somebody each time that it runs.
POISON = """
import os, signal

def train(trial, kind):
    if kind == "crash":
        os.abort()
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    trial.report(loss=1.0)
"""


def running(study: Any, step: int) -> Any:
    """The trial that has come so far."""
    for trial in study.trials(state=TrialState.RUNNING):
        if (trial.last_step or 0) >= step:
            return trial
    return None


@pytest.mark.timeout(900)
def test_a_drained_worker_leaves_in_time_with_a_whole_checkpoint_and_without_a_failure(
    new_fleet: Any, ledger: Any, tmp_path: Path
) -> None:
    fleet = new_fleet()
    fleet.start_master()
    study = fleet.submit(COUNTING, steps=60, retry={"lost": 1, "error": 0})
    fleet.start_worker("w")
    before = fleet.wait(lambda: running(study, 5), "the trial trains")
    began = time.monotonic()
    code = fleet.stop("w")
    took_s = time.monotonic() - began
    drained = study.trial(before.number)
    [checkpoint] = [each for each in drained.artifacts if each.name == "checkpoint.safetensors"]
    file = tmp_path / "checkpoint"
    study.fetch(drained, checkpoint.name, to=file)
    with safe_open(str(file), framework="np") as whole:
        step = whole.metadata()["tree"]
    is_in_time = took_s < on_this_machine(DRAINS_WITHIN_S)
    problems = [] if code == 0 and is_in_time else [f"it left with {code} after {took_s:.0f} s"]
    problems += [] if hashlib.sha256(file.read_bytes()).hexdigest() == checkpoint.sha256 and step else ["not whole"]
    problems += [] if drained.state is TrialState.WAITING and drained.failure is None else [f"{drained.state}"]
    ledger.fault("SIGTERM of a worker with a trial")
    ledger.check("I7", problems)
    fleet.start_worker("v")
    ledger.check_finished(fleet, study.name, 1)
    assert [attempt.outcome for attempt in study.trial(0).attempts] == ["preempted", "complete"]
    assert study.trial(0).curve[-1].metrics["count"] == 60


@pytest.mark.timeout(900)
def test_a_poison_trial_is_set_aside_after_three_crashes_and_the_others_run_on(new_fleet: Any, ledger: Any) -> None:
    fleet = new_fleet()
    fleet.start_master()
    space = {"kind": ["crash", "kill", "a", "b"]}
    study = fleet.submit(POISON, space=space, budget={"trials": 4}, retry={"error": 5, "lost": 4})
    fleet.start_worker("w", "--no-preload", "--rest", "0.1")
    fleet.wait(lambda: study.view().state == "complete", "the study is complete")
    trials = {trial.params["kind"]: trial for trial in study.trials()}
    ledger.fault("a trial that takes its process down each time", 2)
    for kind, n_attempts in (("crash", 3), ("kill", 5)):
        poison = trials.pop(kind)
        ledger.check("I8", [] if (poison.state, poison.attempt) == (TrialState.FAILED, n_attempts) else [f"{poison}"])
    ledger.check("I8", [f"{trial}" for trial in trials.values() if trial.state is not TrialState.COMPLETE], n=2)
    ledger.check_stored(fleet)
