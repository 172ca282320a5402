"""A paused trial goes on from its checkpoint, in another process."""

from __future__ import annotations

from typing import Any

import pytest

from tunefleet.protocol import StudyState, TrialState

STEPS = 9

# The counter is what a checkpoint keeps: steps that were run twice, or lost, would show in it.
TRAINING = """
import os, time

class Counter:
    n = 0
    def state_dict(self): return {"n": self.n}
    def load_state_dict(self, state): self.n = state["n"]

def train(trial, x):
    counter = Counter()
    for step in trial.epochs(counter=counter):
        counter.n += 1
        trial.report(loss=trial.number, count=counter.n, pid=os.getpid())
        time.sleep(0.3)
"""


@pytest.mark.timeout(600)
def test_promoted_trials_go_on_where_they_paused_and_the_best_ends_complete(fleet: Any) -> None:
    for name in ("w0", "w1"):
        fleet.start_worker(name)
    study = fleet.submit(TRAINING, steps=STEPS, budget={"trials": 9}, pruning={"pruner": "asha", "mode": "promote"})
    fleet.wait(lambda: study.view().state is StudyState.COMPLETE, "the study is complete", timeout_s=300)
    trials = {trial.number: study.trial(trial.number) for trial in study.trials()}
    assert {trial.state for trial in trials.values()} == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in trials.values():
        assert [point.metrics["count"] for point in trial.curve] == list(range(1, len(trial.curve) + 1))
    best = trials[0]  # it came first, paused, and was promoted once others were there
    assert (best.state, best.value, len(best.curve)) == (TrialState.COMPLETE, 0, STEPS)
    assert best.attempt > 1
    assert len({point.metrics["pid"] for point in best.curve}) == best.attempt
