"""Bounds in the user's own sense."""

from __future__ import annotations

import math

import pytest
from tests.unit.master.pruning.pruner_runs import PrunerRun, pruner_of

from tunefleet_master.pruning.pruner import Action, RungArrival

STEPS = 8


def message(value: float, *, sign: float = 1.0, **keys: float) -> tuple[Action, str]:
    """Return the decision after 3 steps on the user's value."""
    decision = PrunerRun(pruner_of("threshold", steps=STEPS, sign=sign, **keys), STEPS).report(0, sign * value, step=2)
    assert decision is not None
    return decision.action, decision.message


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_value_beyond_a_bound_stops_the_trial_whatever_the_goal(sign: float) -> None:
    keys = {"lower": 0.1, "upper": 0.9}
    assert message(0.05, sign=sign, **keys) == (Action.STOP, "0.05 after 3 steps is below the lower bound 0.1")
    assert message(0.95, sign=sign, **keys) == (Action.STOP, "0.95 after 3 steps is above the upper bound 0.9")
    assert message(0.5, sign=sign, **keys) == (Action.CONTINUE, "0.5 after 3 steps is within the bounds")


def test_a_value_equal_to_a_bound_continues() -> None:
    assert message(0.9, upper=0.9)[0] is Action.CONTINUE
    assert message(0.9, lower=0.9)[0] is Action.CONTINUE


def test_one_bound_is_enough() -> None:
    assert message(1e9, lower=0.0)[0] is Action.CONTINUE
    assert message(-1e9, upper=0.0)[0] is Action.CONTINUE
    assert message(math.inf, upper=0.0)[0] is Action.STOP


def test_it_is_the_newest_value_that_counts_and_not_the_best() -> None:
    pruner = pruner_of("threshold", steps=STEPS, upper=1.0)
    arrival = RungArrival(trial=0, rung=3, value=0.2, latest=5.0)
    assert pruner.decide(pruner.new_table(), arrival).action is Action.STOP


def test_the_first_steps_are_free() -> None:
    study = PrunerRun(pruner_of("threshold", steps=STEPS, upper=1.0, min=3), STEPS)
    assert study.run(0, [9.0, 9.0, 0.5, 0.5, 9.0, 9.0, 9.0, 9.0]) is Action.STOP
    assert study.n_run(0) == 5
