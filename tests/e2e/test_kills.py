"""Whatever is killed, the study ends with each trial finished once, and what was interrupted goes on where it was."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest
from tests.fleet import on_this_machine

from tunefleet.protocol import StudyState, TrialState

STEPS = 12

# Each step costs a tenth of a second; the counter is what a checkpoint keeps. The process names itself in its reports.
SLOW_TRAINING = """
import os, time

class Counter:
    n = 0
    def state_dict(self): return {"n": self.n}
    def load_state_dict(self, state): self.n = state["n"]

def train(trial, x):
    counter = Counter()
    first = None
    for step in trial.epochs(counter=counter):
        first = step if first is None else first
        counter.n += 1
        time.sleep(0.1)
        trial.report(loss=x + 1 / counter.n, count=counter.n, first=first, pid=os.getpid())
"""


def running(study: Any, *, worker: str, step: int) -> Any:
    """A trial of the worker that has come so far, as its details."""
    for trial in study.trials(state=TrialState.RUNNING):
        if trial.worker == worker and (trial.last_step or 0) >= step:
            return study.trial(trial.number)
    return None


def saved(study: Any, *, worker: str) -> Any:
    """A trial of the worker that has delivered a checkpoint and has some way to go, as its details."""
    trial = running(study, worker=worker, step=3)
    if trial is None or trial.last_step > STEPS - 4:
        return None
    return trial if "checkpoint.safetensors" in {artifact.name for artifact in trial.artifacts} else None


def only_the_master_is_left(fleet: Any) -> bool:
    return [process for process in fleet.alive() if process.pid != fleet.processes["master"].pid] == []


@pytest.mark.timeout(600)
def test_agents_children_and_the_master_die_and_forty_trials_are_finished_once_each(fleet: Any) -> None:
    for i in range(3):
        fleet.start_worker(f"w{i}", "--checkpoint-every", "0")
    study = fleet.submit(SLOW_TRAINING, steps=STEPS, budget={"trials": 40})

    by_agent = fleet.wait(lambda: saved(study, worker="w0"), "w0 saves")
    fleet.kill("w0")
    child_of_dead_agent = int(by_agent.curve[-1].metrics["pid"])
    fleet.wait(
        lambda: not psutil.pid_exists(child_of_dead_agent), "the child follows its agent", timeout_s=on_this_machine(5)
    )

    by_child = fleet.wait(lambda: saved(study, worker="w1"), "w1 saves")
    os.kill(int(by_child.curve[-1].metrics["pid"]), signal.SIGKILL)

    by_master = fleet.wait(lambda: running(study, worker="w2", step=3), "w2 trains")
    fleet.kill("master")
    fleet.start_master()
    fleet.start_worker("w0", "--checkpoint-every", "0")

    fleet.wait(lambda: study.view().state is StudyState.COMPLETE, "the study is complete", timeout_s=300)
    trials = list(study.trials())
    assert sorted(trial.number for trial in trials) == list(range(40))
    assert study.view().trials == {TrialState.COMPLETE: 40}
    for interrupted in (by_agent, by_child):
        after = study.trial(interrupted.number)
        assert after.attempt == 2
        assert after.curve[-1].metrics["first"] > 0, "it went on from its checkpoint"
        assert after.curve[-1].metrics["count"] == STEPS
    # The master's death is not the worker's: the attempt goes on and delivers afterwards.
    assert study.trial(by_master.number).attempt == 1
    assert all(len(study.trial(trial.number).curve) == STEPS for trial in trials)


def test_a_worker_that_is_told_to_go_leaves_a_checkpoint_and_no_process(fleet: Any) -> None:
    fleet.start_worker("w0")
    study = fleet.submit(SLOW_TRAINING, steps=200)
    before = fleet.wait(lambda: running(study, worker="w0", step=5), "w0 trains")
    fleet.processes["w0"].send_signal(signal.SIGTERM)
    assert fleet.processes["w0"].wait(timeout=on_this_machine(25)) == 0
    fleet.wait(
        lambda: only_the_master_is_left(fleet), "all that the worker started is gone", timeout_s=on_this_machine(2)
    )
    drained = study.trial(before.number)
    assert drained.state is TrialState.WAITING
    assert [attempt.outcome for attempt in drained.attempts] == ["preempted"]
    assert "checkpoint.safetensors" in [artifact.name for artifact in drained.artifacts]

    fleet.start_worker("w1")
    fleet.wait(lambda: study.trial(0).curve[-1].metrics["pid"] != before.curve[-1].metrics["pid"], "w1 reports")
    assert study.trial(0).curve[-1].metrics["first"] >= 5


def test_a_second_signal_stops_a_worker_at_once(fleet: Any) -> None:
    fleet.start_worker("w0", "--no-preload")
    stubborn = "import time\ndef train(trial, x):\n    trial.report(step=1, loss=x)\n    time.sleep(600)\n"
    study = fleet.submit(stubborn)
    fleet.wait(lambda: running(study, worker="w0", step=1), "w0 trains")
    fleet.processes["w0"].send_signal(signal.SIGTERM)
    fleet.wait(
        lambda: "draining" in fleet.log("w0"), "the first signal has arrived"
    )  # two at once are one to a process
    fleet.processes["w0"].send_signal(signal.SIGTERM)
    assert fleet.processes["w0"].wait(timeout=on_this_machine(15)) == 1
    fleet.wait(
        lambda: only_the_master_is_left(fleet), "all that the worker started is gone", timeout_s=on_this_machine(2)
    )


def test_a_worker_runs_where_the_temporary_folder_has_a_long_path(fleet: Any, monkeypatch: Any) -> None:
    long = fleet.folder / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    fleet.start_worker("w0", "--no-preload")
    study = fleet.submit("def train(trial, x):\n    trial.report(loss=x)\n")
    fleet.wait(lambda: study.view().state is StudyState.COMPLETE, "the trial is complete")
