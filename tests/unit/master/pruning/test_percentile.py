"""The median and percentile rules, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.master.pruning.pruner_runs import PrunerRun, pruner_of

from tunefleet_master.pruning.pruner import Action

STEPS = 4
CURVE = st.lists(st.floats(-100, 100), min_size=STEPS, max_size=STEPS)


def study_of(curves: list[list[float]], *, name: str = "median", **keys: Any) -> PrunerRun:
    """A study that has run these trials to their end."""
    study = PrunerRun(pruner_of(name, steps=STEPS, **{"startup": len(curves), **keys}), STEPS)
    for trial, curve in enumerate(curves):
        assert study.run(trial, curve) is Action.CONTINUE
    return study


@given(st.lists(CURVE, min_size=1, max_size=12), CURVE, st.sampled_from([10.0, 25.0, 50.0, 90.0]))
def test_a_trial_stops_at_the_first_step_where_numpy_finds_it_worse(
    curves: list[list[float]], curve: list[float], percentile: float
) -> None:
    study = study_of(curves, name="percentile", percentile=percentile)
    limits = np.percentile(np.array(curves), percentile, axis=0)
    worse = np.array(curve) > limits + 1e-9 * np.abs(limits)
    better = np.array(curve) < limits - 1e-9 * np.abs(limits)
    if not np.all(worse | better):
        return  # too near to tell by floating-point numbers
    expected = int(np.argmax(worse)) + 1 if worse[:-1].any() else STEPS
    study.run(len(curves), curve)
    assert study.n_run(len(curves)) == expected


@given(st.lists(CURVE, min_size=5, max_size=9), CURVE)
def test_the_median_is_the_percentile_of_fifty(curves: list[list[float]], curve: list[float]) -> None:
    n_run = []
    for name, keys in (("median", {}), ("percentile", {"percentile": 50})):
        study = study_of(curves, name=name, **keys)
        study.run(99, curve)
        n_run.append(study.n_run(99))
    assert n_run[0] == n_run[1]


def test_a_value_equal_to_the_median_continues() -> None:
    study = study_of([[0.1] * STEPS, [0.2] * STEPS, [0.3] * STEPS])
    assert study.run(3, [0.2] * STEPS) is Action.CONTINUE
    assert study.run(4, [0.2, 0.21, 0.1, 0.1]) is Action.STOP


def test_trials_that_run_or_were_stopped_do_not_count() -> None:
    study = study_of([[0.5] * STEPS, [0.6] * STEPS], startup=2)
    for trial in range(2, 10):
        assert study.run(trial, [0.9] * STEPS) is Action.STOP
    for trial in range(10, 20):
        study.report(trial, 0.1)
    assert study.run(20, [0.55] * STEPS) is Action.CONTINUE


@pytest.mark.parametrize("startup", [1, 3, 5])
def test_nothing_is_compared_before_enough_trials_are_complete(startup: int) -> None:
    study = PrunerRun(pruner_of("median", steps=STEPS, startup=startup), STEPS)
    for trial in range(startup):
        assert study.run(trial, [float(trial)] * STEPS) is Action.CONTINUE
    assert study.run(startup, [99.0] * STEPS) is Action.STOP


def test_rungs_start_at_min_and_follow_the_interval() -> None:
    study = PrunerRun(pruner_of("median", steps=20, min=3, interval=7), 20)
    assert [step for step in range(20) if study.report(0, 1.0) is not None] == [2, 9, 16, 19]


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("median", {}, "0.9 is worse than 0.25, the median of 4 complete trials after 2 steps"),
        (
            "percentile",
            {"percentile": 25},
            "0.9 is worse than 0.175, which bounds the best 25 % of 4 complete trials after 2 steps",
        ),
    ],
)
def test_the_message_states_the_limit(name: str, keys: dict[str, Any], message: str) -> None:
    study = study_of([[value] * STEPS for value in (0.1, 0.2, 0.3, 0.4)], name=name, **keys)
    study.report(4, 0.0)
    decision = study.report(4, 0.9)
    assert decision is not None
    assert (decision.action, decision.message) == (Action.STOP, message)


def test_the_message_during_startup_states_what_is_missing() -> None:
    decision = PrunerRun(pruner_of("median", steps=STEPS), STEPS).report(0, 0.9)
    assert decision is not None
    assert decision.message == "0 complete trials have a value after 1 step; comparison starts at 5"
