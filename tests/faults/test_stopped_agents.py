"""A worker that is stopped for longer than its lease and then goes on, while another attempt of its trial runs."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.chaos import amount

from tunefleet.protocol import TrialState

LEASE_S = 2.0
NAMES = ("v", "w")

# Reports until its gate is open.
GATED = """
import pathlib, time

def train(trial, x):
    step = 0
    while not pathlib.Path({gate!r}).exists():
        trial.report(step=step, loss=x + 1 / (step + 1))
        step += 1
        time.sleep(0.05)
    trial.report(step=step, loss=x)
"""


def under_way(study: Any, attempt: int) -> Any:
    """The study's one trial, when this attempt has reported."""
    for trial in study.trials(state=TrialState.RUNNING):
        if trial.attempt == attempt and trial.last_step:
            return trial
    return None


@pytest.mark.timeout(1800)
def test_a_worker_that_was_stopped_for_longer_than_its_lease_cannot_disturb_the_next_attempt(
    new_fleet: Any, database: Any, ledger: Any, tmp_path: Path
) -> None:
    fleet = new_fleet(database=database, lease_s=LEASE_S)
    fleet.start_master()
    for name in NAMES:
        fleet.start_worker(name, "--no-preload")
    for turn in range(amount(2, 10)):
        gate = tmp_path / str(turn)
        study = fleet.submit(GATED.format(gate=str(gate)), name=f"stopped{turn}")
        first = fleet.wait(lambda s=study: under_way(s, 1), "somebody works on the trial").worker
        [other] = {*NAMES} - {first}
        sleeping = fleet.alive(first)
        for process in sleeping:
            process.send_signal(signal.SIGSTOP)
        ledger.fault("SIGSTOP of a worker for longer than its lease")
        assert fleet.wait(lambda s=study: under_way(s, 2), "the other worker takes the trial").worker == other
        n_before = fleet.log(first).count("was abandoned")
        for process in sleeping:
            with suppress(psutil.NoSuchProcess):  # the agent, awake, has ended its training process before us
                process.send_signal(signal.SIGCONT)
        fleet.wait(lambda w=first, n=n_before: fleet.log(w).count("was abandoned") > n, "the first one gives up")
        gate.touch()
        ledger.check_finished(fleet, study.name, 1)
        assert [attempt.outcome for attempt in study.trial(0).attempts] == ["lost", "complete"]
