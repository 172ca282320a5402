"""A worker that is told to leave is gone in time with nothing lost, whatever its trials and its master do."""

from __future__ import annotations

import signal
from typing import Any

from tests.fleet import on_this_machine

from tunefleet.protocol import TrialState

IN_TIME = ("--no-preload", "--drain-within", "3")
LONG_ENOUGH_S = 120.0  # for a busy machine; what does not end by itself would need the 600 s of its sleep

# Neither looks at an order: one sleeps in Python, the other in C with the interpreter in its hand.
DEAF = """
import ctypes, time
def train(trial, x):
    trial.report(loss=1.0)
    if trial.number == 0:
        time.sleep(600)
    ctypes.PyDLL(None).sleep(600)
"""

FAREWELL = """
import pathlib, time
def train(trial, x):
    trial.report(loss=1.0)
    while not pathlib.Path({gate!r}).exists():
        time.sleep(0.01)
    file = trial.folder / "model.bin"
    file.write_bytes(bytes(5_000_000))
    trial.save("model.bin", file)
"""


def reported(study: Any, n: int) -> bool:
    """Whether so many trials have told their loss."""
    running = study.trials(state=TrialState.RUNNING)
    return len(running) == n and all(trial.value is not None for trial in running)


def leave(fleet: Any, name: str) -> int:
    """Tell a worker to go; its exit code."""
    fleet.processes[name].send_signal(signal.SIGTERM)
    code: int = fleet.processes[name].wait(timeout=LONG_ENOUGH_S)
    return code


def only_the_master_is_left(fleet: Any) -> bool:
    return [process for process in fleet.alive() if process.pid != fleet.processes["master"].pid] == []


def test_trials_that_hear_no_order_are_given_back_and_do_not_count_as_failures(fleet: Any) -> None:
    fleet.start_worker("w0", "--slots", "2", *IN_TIME)
    study = fleet.submit(DEAF, budget={"trials": 2}, retry={"error": 0})
    fleet.wait(lambda: reported(study, 2), "both trials have begun")
    assert leave(fleet, "w0") == 0
    fleet.wait(
        lambda: only_the_master_is_left(fleet), "all that the worker started is gone", timeout_s=on_this_machine(2)
    )
    for number in (0, 1):
        trial = study.trial(number)
        assert (trial.state, trial.failure) == (TrialState.WAITING, None)
        assert [attempt.outcome for attempt in trial.attempts] == ["preempted"]


def test_a_master_that_hangs_in_an_upload_holds_no_worker_up_and_what_is_left_is_delivered_later(fleet: Any) -> None:
    gate = fleet.folder / "gate"
    fleet.start_worker("w0", "--slots", "2", *IN_TIME)
    study = fleet.submit(FAREWELL.format(gate=str(gate)))
    fleet.wait(lambda: reported(study, 1), "the trial has begun")
    fleet.processes["master"].send_signal(signal.SIGSTOP)  # connections are taken, and nothing is answered
    gate.touch()
    spool = fleet.folder / "w0" / "attempts" / "1-1" / "spool.jsonl"
    fleet.wait(lambda: '"kind":"end"' in spool.read_text(), "the trial has ended")
    assert leave(fleet, "w0") == 0
    assert "the next worker in this folder delivers them" in fleet.log("w0")
    fleet.processes["master"].send_signal(signal.SIGCONT)
    fleet.wait(
        lambda: only_the_master_is_left(fleet), "all that the worker started is gone", timeout_s=on_this_machine(2)
    )

    fleet.start_worker("w0", *IN_TIME)
    fleet.wait(lambda: study.view().trials == {TrialState.COMPLETE: 1}, "the trial is complete")
    trial = study.trial(0)
    assert (trial.attempt, trial.value) == (1, 1.0)
    assert {artifact.name: artifact.size_bytes for artifact in trial.artifacts}["model.bin"] == 5_000_000


def test_a_worker_whose_master_is_gone_leaves_as_well(fleet: Any) -> None:
    fleet.start_worker("w0", *IN_TIME)
    study = fleet.submit(DEAF)
    fleet.wait(lambda: reported(study, 1), "the trial has begun")
    fleet.kill("master")
    assert leave(fleet, "w0") == 0
    fleet.wait(lambda: fleet.alive() == [], "all that the worker started is gone", timeout_s=on_this_machine(2))
