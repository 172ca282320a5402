"""Ranks at a rung, and the table of all rungs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunefleet_master.pruning.rungs import Rung, RungTable

VALUES = st.floats(allow_nan=False, width=16)  # few enough for ties
FINITE = st.floats(-1e6, 1e6)


def rung_of(values: list[float]) -> Rung:
    """A rung that trial i reached with value i, the last trial first."""
    rung = Rung()
    for trial in reversed(range(len(values))):
        rung.add(values[trial], trial)
    return rung


def book_of(**keys: bool) -> RungTable:
    return RungTable(bracket_of=lambda trial: 0, **keys)


@given(st.lists(VALUES, max_size=40), VALUES)
def test_a_rank_counts_the_better_values_and_among_equal_ones_the_lower_numbers(
    values: list[float], value: float
) -> None:
    rung = rung_of(values)
    order = sorted((value, trial) for trial, value in enumerate(values))
    assert [rung.rank(value, trial) for value, trial in order] == list(range(len(values)))
    assert rung.rank(value, len(values)) == sum(other <= value for other in values)


@given(st.lists(FINITE, min_size=1, max_size=40), st.floats(0, 1))
def test_a_quantile_is_the_one_of_numpy(values: list[float], share: float) -> None:
    assert rung_of(values).quantile(share) == pytest.approx(np.quantile(values, share), rel=1e-9, abs=1e-9)


def test_a_quantile_between_infinite_values_is_infinite() -> None:
    assert rung_of([math.inf, math.inf, 1.0]).quantile(0.75) == math.inf


def test_a_trial_reaches_no_rung_twice() -> None:
    table = book_of()
    table.record(3, rung=9, value=0.5)
    table.record(3, rung=9, value=0.1)
    table.record(3, rung=1, value=0.1)
    assert table.reached(3) == 9
    assert table.at(9, trial=3).rank(0.3, 7) == 0
    assert len(table.at(1, trial=3)) == 0


def test_a_trial_that_has_reported_nothing_has_reached_nothing() -> None:
    table = book_of()
    assert table.reached(5) == 0
    table.record(7, rung=1, value=0.5)
    assert table.reached(5) == table.reached(8) == 0


def test_a_diverged_value_is_worse_than_every_number() -> None:
    table = book_of()
    table.record(0, rung=1, value=math.nan)
    table.record(1, rung=1, value=1e300)
    assert table.at(1, trial=0).rank(math.inf, 0) == 1


def test_trials_of_different_brackets_share_no_rung() -> None:
    table = RungTable(bracket_of=lambda trial: trial % 2)
    for trial in range(5):
        table.record(trial, rung=1, value=float(trial))
    assert len(table.at(1, trial=0)) == 3
    assert len(table.at(1, trial=1)) == 2


def test_paused_trials_come_from_the_highest_rung_first_until_they_continue_or_end() -> None:
    table = book_of()
    for trial, rung, value in ((0, 1, 0.3), (1, 1, 0.2), (2, 1, 0.1), (2, 3, 0.4)):
        table.record(trial, rung=rung, value=value)
    for trial in (0, 1, 2, 2, 9):  # the last one has reached no rung
        table.pause(trial)
    assert [rung.paused for rung in table.with_paused()] == [[(0.4, 2)], [(0.2, 1), (0.3, 0)]]
    table.resume(1)
    table.resume(1)
    table.end(2, is_complete=False)
    assert [rung.paused for rung in table.with_paused()] == [[(0.3, 0)]]
    assert len(table.at(1, trial=0)) == 3  # they were there, wherever they are now


def test_where_only_complete_trials_count_the_others_leave_no_trace() -> None:
    table = book_of(only_complete=True)
    for trial in range(3):
        table.record(trial, rung=1, value=float(trial))
        table.record(trial, rung=3, value=float(trial))
    assert len(table.at(1, trial=0)) == 0
    table.end(1, is_complete=True)
    table.end(2, is_complete=False)
    assert [len(table.at(rung, trial=0)) for rung in (1, 3)] == [1, 1]
    assert table.at(3, trial=0).rank(0.5, 9) == 0
    assert table.at(3, trial=0).rank(1.5, 9) == 1
