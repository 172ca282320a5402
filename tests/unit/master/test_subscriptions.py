"""Notifications wake the right waiters, and none is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress

import pytest

from tunefleet_master.storage.notifications import EVERYTHING
from tunefleet_master.storage.subscriptions import CLAIMS, FIRST_WOKEN, SUCCESSORS, Subscriptions, Waiter

PLENTY = 4 * FIRST_WOKEN


def in_a_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        async def within() -> None:
            await asyncio.wait_for(test(), timeout=120)

        asyncio.run(within())

    run.__name__ = test.__name__
    return run


async def notified(waiters: list[Waiter]) -> list[int]:
    """Positions of the waiters that are notified, once the published topics have arrived."""
    await asyncio.sleep(0)
    return [number for number, waiter in enumerate(waiters) if waiter.is_notified]


def queue(stack: ExitStack, subscriptions: Subscriptions, n: int, *, kind: str = "any") -> list[Waiter]:
    return [stack.enter_context(subscriptions.wait_in_queue(CLAIMS, kind)) for _ in range(n)]


@in_a_loop
async def test_the_first_of_each_kind_are_woken() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        many, few = queue(stack, subscriptions, PLENTY), queue(stack, subscriptions, 2, kind="other")

        subscriptions.publish([CLAIMS])

        assert await notified(many) == list(range(FIRST_WOKEN))
        assert await notified(few) == [0, 1]


@in_a_loop
async def test_another_notification_wakes_the_next_ones() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        waiters = queue(stack, subscriptions, PLENTY)

        subscriptions.publish([CLAIMS])
        subscriptions.publish([CLAIMS])

        assert await notified(waiters) == list(range(2 * FIRST_WOKEN))


@in_a_loop
async def test_a_served_waiter_wakes_two_more() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        with subscriptions.wait_in_queue(CLAIMS, "any") as first:
            waiters = queue(stack, subscriptions, PLENTY)
            first.mark_served()

        assert await notified(waiters) == list(range(SUCCESSORS))


@in_a_loop
async def test_a_waiter_that_leaves_with_an_unread_notification_wakes_the_next() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        with subscriptions.wait_in_queue(CLAIMS, "any") as first:
            waiters = queue(stack, subscriptions, PLENTY)
            first.notify()

        assert await notified(waiters) == [0]


@in_a_loop
async def test_a_waiter_that_got_nothing_wakes_nobody() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        with subscriptions.wait_in_queue(CLAIMS, "any") as first:
            waiters = queue(stack, subscriptions, PLENTY)
            first.notify()
            assert await first.wait(60)

        assert await notified(waiters) == []


@in_a_loop
async def test_a_waiter_that_fails_wakes_the_next() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        with suppress(OSError), subscriptions.wait_in_queue(CLAIMS, "any") as first:
            waiters = queue(stack, subscriptions, PLENTY)
            first.notify()
            assert await first.wait(60)
            raise OSError

        assert await notified(waiters) == [0]


@in_a_loop
async def test_everything_notifies_every_subscription() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack, subscriptions.subscribe("another topic") as subscription:
        waiters = queue(stack, subscriptions, 2)

        subscriptions.publish([EVERYTHING])

        assert await notified(waiters) == [0, 1]
        assert await subscription.wait(60)


class Market:
    """Trials that arrive in bursts, and as many claims that read a moment after they wake, or fail.

    Other claims give up early, perhaps just when they wake.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._wakeups = Subscriptions()
        self.waiting = 0

    async def run(self, n_trials: int) -> None:
        """Return when every patient claim has a trial."""
        impatient = [self._want(patience_s=self._chance.uniform(0, 0.02)) for _ in range(n_trials)]
        patient = [self._want(patience_s=600) for _ in range(n_trials)]
        wanted = [*impatient, *patient]
        self._chance.shuffle(wanted)
        await asyncio.gather(self._offer(2 * n_trials), *wanted)

    async def _offer(self, n_trials: int) -> None:
        """Offer trials in bursts."""
        while n_trials:
            await asyncio.sleep(self._chance.choice([0, 0.002]))
            burst = min(n_trials, self._chance.choice([1, 2, 50]))
            n_trials -= burst
            self.waiting += burst
            self._wakeups.publish([CLAIMS])

    async def _want(self, *, patience_s: float) -> None:
        """Take one trial, and retry after each failure; give up after `patience_s`."""
        while True:
            with suppress(OSError), self._wakeups.wait_in_queue(CLAIMS, "any") as waiter:
                while not await self._take(waiter):
                    if not await waiter.wait(patience_s):
                        return
                return
            await asyncio.sleep(0.05)

    async def _take(self, waiter: Waiter) -> bool:
        await asyncio.sleep(self._chance.choice([0, 0.001]))
        if self._chance.random() < 0.02:
            raise OSError
        if not self.waiting:
            return False
        self.waiting -= 1
        waiter.mark_served()
        return True


@pytest.mark.parametrize("seed", range(20))
def test_every_trial_is_taken_while_enough_waiters_stay(seed: int) -> None:
    async def run() -> int:
        market = Market(random.Random(seed))
        await asyncio.wait_for(market.run(100), timeout=120)
        return market.waiting

    assert 0 <= asyncio.run(run()) <= 100
