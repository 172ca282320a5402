"""Early stopping on a trial's own curve."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.master.pruning.pruner_runs import PrunerRun, pruner_of

from tunefleet_master.pruning.pruner import Action

STEPS = 20
DELTAS = st.sampled_from([0.0, 1.0, 2.5])


def n_run(curve: list[float], *, steps: int = STEPS, **keys: float) -> int:
    """Return the number of steps that a trial with this curve runs."""
    study = PrunerRun(pruner_of("patience", steps=steps, **keys), steps)
    study.run(0, curve)
    return study.n_run(0)


def counted(curve: list[float], *, patience: int, min_delta: float) -> int:
    """Count as the callback of Keras does: steps since the last improvement on the best value."""
    best, waited = math.inf, 0
    for step, value in enumerate(curve[:-1]):
        waited += 1
        if value < best - min_delta:
            best, waited = value, 0
        if waited >= patience:
            return step + 1
    return len(curve)


@given(st.lists(st.integers(0, 9).map(float), min_size=STEPS, max_size=STEPS), st.integers(1, 5), DELTAS)
def test_it_stops_where_a_counter_of_steps_without_improvement_does(
    curve: list[float], patience: int, min_delta: float
) -> None:
    assert n_run(curve, patience=patience, min_delta=min_delta) == counted(
        curve, patience=patience, min_delta=min_delta
    )


def test_small_improvements_add_up() -> None:
    curve = [10.0 - 0.4 * step for step in range(STEPS)]
    assert n_run(curve, patience=3, min_delta=1.0) == STEPS
    assert n_run(curve, patience=2, min_delta=1.0) == 3


def test_steps_are_counted_and_not_reports() -> None:
    study = PrunerRun(pruner_of("patience", steps=100, patience=10), 100)
    steps = [4, 9, 14, 19]
    actions = [study.report(0, 1.0, step=step) for step in steps]
    assert [decision and decision.action for decision in actions] == [
        Action.CONTINUE,
        Action.CONTINUE,
        Action.STOP,
        Action.STOP,
    ]


def test_nothing_is_stopped_before_min_steps() -> None:
    assert n_run([1.0] * STEPS, patience=2) == 3
    assert n_run([1.0] * STEPS, patience=2, min=8) == 8


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_no_improvement_and_no_reason_to_stop(value: float) -> None:
    assert n_run([value] * STEPS, patience=2) == STEPS
    assert n_run([value, 0.5, value, value, 0.1], steps=5, patience=2) == 4


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "0.5 after 2 steps has not been improved on for 3 steps"),
        ({"min_delta": 0.1}, "0.5 after 2 steps has not been improved on by more than 0.1 for 3 steps"),
    ],
)
def test_the_message_states_the_best_value_and_the_wait(keys: dict[str, float], message: str) -> None:
    study = PrunerRun(pruner_of("patience", steps=STEPS, patience=3, **keys), STEPS)
    decisions = [study.report(0, value) for value in (0.9, 0.5, 0.6, 0.5, 0.5)]
    assert decisions[-1] is not None
    assert (decisions[-1].action, decisions[-1].message) == (Action.STOP, message)
