"""Patience: the waits between tries."""

from __future__ import annotations

import pytest

from tunefleet.client.retries import FIRST_WAIT_S, MAX_WAIT_S, RetryPolicy


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_waits_double_up_to_the_longest_one() -> None:
    policy = RetryPolicy(None, draw=lambda: 1.0)
    waits = [policy.wait_s() for _ in range(10)]
    assert waits[:4] == [FIRST_WAIT_S, FIRST_WAIT_S * 2, FIRST_WAIT_S * 4, FIRST_WAIT_S * 8]
    assert waits[-1] == MAX_WAIT_S


def test_waits_are_drawn_from_zero_up() -> None:
    assert RetryPolicy(None, draw=lambda: 0.0).wait_s() == 0


def test_patience_ends_when_its_time_is_over_and_tries_once_at_the_end() -> None:
    clock = Clock()
    policy = RetryPolicy(1.0, now=clock, draw=lambda: 1.0)
    assert policy.wait_s() == FIRST_WAIT_S
    clock.now_s = 0.95
    assert policy.wait_s() == pytest.approx(0.05)
    clock.now_s = 1.0
    assert policy.wait_s() is None


def test_progress_gives_the_whole_time_again() -> None:
    clock = Clock()
    policy = RetryPolicy(1.0, now=clock, draw=lambda: 1.0)
    policy.wait_s()
    clock.now_s = 5.0
    policy.reset()
    assert policy.wait_s() == FIRST_WAIT_S


def test_an_order_is_a_least_wait_and_ends_a_patience_that_is_shorter() -> None:
    assert RetryPolicy(None, draw=lambda: 0.0).wait_s(3.0) == 3.0
    assert RetryPolicy(2.0, draw=lambda: 0.0).wait_s(3.0) is None


def test_no_patience_is_none_at_all() -> None:
    assert RetryPolicy(0).wait_s() is None
