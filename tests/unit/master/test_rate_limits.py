from __future__ import annotations

import pytest

from tunefleet.errors import TooManyRequests
from tunefleet_master.api import rate_limits
from tunefleet_master.api.rate_limits import BURST_S, RateLimit


class Clock:
    """A clock that the test moves; seconds."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def n_taken(limit: RateLimit, client: str) -> int:
    """The number of requests that the client may send now."""
    for count in range(1_000_000):
        try:
            limit.take(client)
        except TooManyRequests:
            return count
    raise AssertionError("there is no limit")


def test_an_idle_client_may_send_a_burst_and_then_its_rate(clock: Clock) -> None:
    limit = RateLimit(10, clock)

    assert n_taken(limit, "a") == 10 * BURST_S
    for _ in range(5):
        clock.now_s += 1
        assert n_taken(limit, "a") == 10


def test_waiting_for_retry_after_is_enough(clock: Clock) -> None:
    limit = RateLimit(3, clock)
    n_taken(limit, "a")
    with pytest.raises(TooManyRequests) as refused:
        limit.take("a")

    clock.now_s += refused.value.retry_after_s

    limit.take("a")


def test_one_client_does_not_delay_another(clock: Clock) -> None:
    limit = RateLimit(10, clock)
    n_taken(limit, "a")

    assert n_taken(limit, "b") == 10 * BURST_S


def test_a_burst_allows_at_least_one_request(clock: Clock) -> None:
    assert n_taken(RateLimit(0.1, clock), "a") == 1


def test_the_usual_limit_lets_a_thousand_workers_of_one_token_report(clock: Clock) -> None:
    limit = RateLimit(10_000, clock)

    for _ in range(30):
        for _ in range(5_100):  # five batches of reports a second, and a heartbeat every ten seconds
            limit.take("the token 'fleet'")
        clock.now_s += 1


def test_many_clients_do_not_fill_the_memory(clock: Clock) -> None:
    limit = RateLimit(10, clock)

    for number in range(3 * rate_limits.MAX_CLIENTS):
        limit.take(f"10.0.{number}")

    assert len(limit._full_at) <= rate_limits.MAX_CLIENTS


def test_a_client_over_its_rate_is_remembered_when_idle_ones_are_forgotten(clock: Clock) -> None:
    limit = RateLimit(10, clock)
    for number in range(rate_limits.MAX_CLIENTS - 1):
        limit.take(f"10.0.{number}")
    clock.now_s += 1
    n_taken(limit, "a")

    limit.take("one more")

    with pytest.raises(TooManyRequests):
        limit.take("a")
