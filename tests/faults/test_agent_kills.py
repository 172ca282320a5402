"""`kill -9` of an agent, or of its training process, at every step of the protocol, on both databases."""

from __future__ import annotations

import fcntl
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.chaos import IS_CHAOS, amount
from tests.fleet import on_this_machine

from tunefleet.failpoints import POINTS
from tunefleet.protocol import TrialState

GONE_WITHIN_S = 2.0  # on an idle machine
LEASE_S = 3.0
N_TRIALS = 6
N_CHILD_TRIALS = 20  # more than the kills need
RELEASES = ["agent.before_release", "agent.after_release"]
OF_AGENT = [point for point in POINTS if point.startswith("agent.") and point not in RELEASES]
OF_CHILD = [point for point in POINTS if point.startswith("child.")]

# Every trial prints, so that it has a log to be sent; no step needs torch.
LIGHT = """
import time

def train(trial, x):
    print("begin", flush=True)
    for step in range(4):
        time.sleep(0.05)
        trial.report(step=step, loss=x + 1 / (step + 1))
"""

# A checkpoint after each step, and a step that no trial repeats when it goes on from it.
KEPT = """
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

FORGIVING = {"lost": 100}


def until_gone(fleet: Any, ledger: Any, name: str) -> None:
    """See that no training process outlives its agent; the one that only starts them leaves when it looks up."""
    end = time.monotonic() + on_this_machine(GONE_WITHIN_S)
    while (left := training(fleet.folder / name)) and time.monotonic() < end:
        time.sleep(0.02)
    ledger.check("I9", [f"{name} is dead and process {pid} trains" for pid in left])
    fleet.wait(lambda: not fleet.alive(name), "nothing of the agent is left")


def training(folder: Path) -> list[str]:
    """The training processes of a worker, each of which holds a file for as long as it or a child of it lives."""
    found = []
    for life in folder.glob("attempts/*/life"):
        with life.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(file.read().decode())
    return found


def n_started(fleet: Any) -> int:
    """How many trials the worker has started, over all its lives."""
    return int(fleet.log("w").count("starts in slot"))


@pytest.mark.timeout(900)
def test_an_agent_that_is_killed_at_each_step_loses_nothing(new_fleet: Any, database: Any, ledger: Any) -> None:
    fleet = new_fleet(database=database, lease_s=LEASE_S)
    fleet.start_master()
    study = fleet.submit(LIGHT, budget={"trials": N_TRIALS}, retry=FORGIVING)
    for point in OF_AGENT:
        fleet.start_worker("w", "--no-preload", failpoints=f"{point}=kill")
        fleet.wait(lambda: fleet.has_ended("w"), f"the agent dies at {point}")
        assert fleet.processes["w"].returncode == -signal.SIGKILL, point
        ledger.fault(f"kill -9 at {point}")
        until_gone(fleet, ledger, "w")
    fleet.submit(LIGHT.replace("range(4)", "range(40)"), name="slow", priority=1, retry=FORGIVING)
    for point in RELEASES:
        fleet.start_worker("w", "--no-preload", failpoints=f"{point}=kill")
        before = n_started(fleet)
        # What the last life has left behind is given back at once; otherwise the worker must be told to.
        fleet.wait(lambda n=before: fleet.has_ended("w") or n_started(fleet) > n, "the worker has something to give")
        assert fleet.stop("w") == -signal.SIGKILL, point
        ledger.fault(f"kill -9 at {point}")
        until_gone(fleet, ledger, "w")
    fleet.start_worker("w", "--no-preload")
    ledger.check_finished(fleet, study.name, N_TRIALS)
    ledger.check_finished(fleet, "slow", 1)


@pytest.mark.timeout(900)
def test_a_training_process_that_is_killed_at_each_step_goes_on_from_its_checkpoint(
    new_fleet: Any, database: Any, ledger: Any, tmp_path: Path
) -> None:
    fleet = new_fleet(database=database, lease_s=LEASE_S)
    fleet.start_master()
    study = fleet.submit(KEPT, steps=4, budget={"trials": N_CHILD_TRIALS}, retry={"error": 2})
    traps = {point: tmp_path / point for point in OF_CHILD}
    for trap in traps.values():
        trap.touch()  # a trap whose file is there is not set
    setting = ";".join(f"{point}=kill!{trap}" for point, trap in traps.items())
    fleet.start_worker("w", "--checkpoint-every", "0", "--rest", "0.1", failpoints=setting)
    for point, trap in traps.items():
        trap.unlink()
        fleet.wait(trap.exists, f"a process dies at {point}")
        ledger.fault(f"kill -9 at {point}")
        # The killed trial may try twice more, so it must be through before the next one is hurt: trials that
        # completed before the kill do not tell that it is.
        done = study.view().trials.get(TrialState.COMPLETE, 0)
        fleet.wait(lambda n=done: study.view().trials.get(TrialState.COMPLETE, 0) > n, "a trial is complete")
    fleet.wait(lambda: not study.view().trials.get(TrialState.WAITING, 0), "the rest is done", timeout_s=300)
    ledger.check_finished(fleet, study.name, N_CHILD_TRIALS)
    killed = [study.trial(trial.number) for trial in study.trials() if trial.attempt > 1]
    assert len(killed) >= len(OF_CHILD) - 1  # behind the end's record, the result counts
    assert all(trial.curve[-1].metrics["count"] == 4 for trial in killed)


@pytest.mark.skipif(not IS_CHAOS, reason="chaos only: each failpoint is tried once by the tests above")
@pytest.mark.timeout(3600)
def test_agents_and_children_that_are_killed_at_random_lose_nothing(new_fleet: Any, database: Any, ledger: Any) -> None:
    n_kills = amount(0, 150)
    draw = random.Random(n_kills)
    fleet = new_fleet(database=database, lease_s=LEASE_S)
    fleet.start_master()
    study = fleet.submit(LIGHT, budget={"trials": 4 * n_kills}, retry={**FORGIVING, "error": 2})
    points = [*OF_AGENT, *RELEASES, "child.after_report", "child.before_end", "child.after_end"]
    for _ in range(n_kills):
        point = draw.choice(points)
        fleet.start_worker("w", "--no-preload", failpoints=f"{point}=kill@{draw.randint(1, 4)}")
        died = time.monotonic() + draw.uniform(0.5, 4.0)
        while not fleet.has_ended("w") and time.monotonic() < died:
            time.sleep(0.02)
        fleet.kill("w")
        ledger.fault("kill -9 of an agent or child at random")
        until_gone(fleet, ledger, "w")
    fleet.start_worker("w", "--no-preload")
    fleet.start_worker("v", "--no-preload")
    view = fleet.wait(lambda: over(study), "the study is over", timeout_s=1800)
    poisoned = view.trials.get(TrialState.FAILED, 0)
    ledger.check("I2", [] if sum(view.trials.values()) == 4 * n_kills else [str(view.trials)], n=4 * n_kills)
    assert poisoned < n_kills  # three kills of the same trial's process set it aside
    ledger.check_stored(fleet)


def over(study: Any) -> Any:
    view = study.view()
    return (
        view
        if not {TrialState.WAITING, TrialState.RUNNING} & {state for state, n in view.trials.items() if n}
        else None
    )
