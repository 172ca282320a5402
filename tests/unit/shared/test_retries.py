"""The retry policy: the waits between attempts."""

from __future__ import annotations

import pytest

from tunefleet.client.retries import FIRST_WAIT_S, MAX_WAIT_S, RetryPolicy


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_waits_double_up_to_the_cap() -> None:
    policy = RetryPolicy(None, draw=lambda: 1.0)
    waits = [policy.wait_s() for _ in range(10)]
    assert waits[:4] == [FIRST_WAIT_S, FIRST_WAIT_S * 2, FIRST_WAIT_S * 4, FIRST_WAIT_S * 8]
    assert waits[-1] == MAX_WAIT_S


def test_waits_are_drawn_from_zero_up() -> None:
    assert RetryPolicy(None, draw=lambda: 0.0).wait_s() == 0


def test_retries_end_with_their_time_after_one_last_attempt() -> None:
    clock = Clock()
    policy = RetryPolicy(1.0, now=clock, draw=lambda: 1.0)
    assert policy.wait_s() == FIRST_WAIT_S
    clock.now_s = 0.95
    assert policy.wait_s() == pytest.approx(0.05)
    clock.now_s = 1.0
    assert policy.wait_s() is None


def test_progress_restarts_the_retry_time() -> None:
    clock = Clock()
    policy = RetryPolicy(1.0, now=clock, draw=lambda: 1.0)
    policy.wait_s()
    clock.now_s = 5.0
    policy.reset()
    assert policy.wait_s() == FIRST_WAIT_S


def test_retry_after_is_a_minimum_wait_and_ends_a_shorter_retry_time() -> None:
    assert RetryPolicy(None, draw=lambda: 0.0).wait_s(3.0) == 3.0
    assert RetryPolicy(2.0, draw=lambda: 0.0).wait_s(3.0) is None


def test_a_retry_time_of_zero_means_no_retry() -> None:
    assert RetryPolicy(0).wait_s() is None
