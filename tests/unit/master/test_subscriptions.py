"""Who is woken when something comes up, and that nothing comes up unheard."""

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
            await asyncio.wait_for(test(), timeout=30)

        asyncio.run(within())

    run.__name__ = test.__name__
    return run


async def rung(places: list[Waiter]) -> list[int]:
    """Which of the places are told to look, once what was published has arrived."""
    await asyncio.sleep(0)
    return [number for number, place in enumerate(places) if place.is_notified]


def line(stack: ExitStack, subscriptions: Subscriptions, n: int, *, kind: str = "any") -> list[Waiter]:
    return [stack.enter_context(subscriptions.wait_in_queue(CLAIMS, kind)) for _ in range(n)]


@in_a_loop
async def test_the_first_of_each_kind_are_woken() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        many, few = line(stack, subscriptions, PLENTY), line(stack, subscriptions, 2, kind="other")

        subscriptions.publish([CLAIMS])

        assert await rung(many) == list(range(FIRST_WOKEN))
        assert await rung(few) == [0, 1]


@in_a_loop
async def test_another_ring_wakes_the_next_ones() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        places = line(stack, subscriptions, PLENTY)

        subscriptions.publish([CLAIMS])
        subscriptions.publish([CLAIMS])

        assert await rung(places) == list(range(2 * FIRST_WOKEN))


@in_a_loop
async def test_who_was_served_wakes_two_more() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        with subscriptions.wait_in_queue(CLAIMS, "any") as first:
            places = line(stack, subscriptions, PLENTY)
            first.served()

        assert await rung(places) == list(range(SUCCESSORS))


@in_a_loop
async def test_who_leaves_without_having_looked_wakes_the_next() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        with subscriptions.wait_in_queue(CLAIMS, "any") as first:
            places = line(stack, subscriptions, PLENTY)
            first.notify()

        assert await rung(places) == [0]


@in_a_loop
async def test_who_looked_in_vain_wakes_nobody() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        with subscriptions.wait_in_queue(CLAIMS, "any") as first:
            places = line(stack, subscriptions, PLENTY)
            first.notify()
            assert await first.wait(1)

        assert await rung(places) == []


@in_a_loop
async def test_who_fails_while_looking_wakes_the_next() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack:
        with suppress(OSError), subscriptions.wait_in_queue(CLAIMS, "any") as first:
            places = line(stack, subscriptions, PLENTY)
            first.notify()
            assert await first.wait(1)
            raise OSError

        assert await rung(places) == [0]


@in_a_loop
async def test_who_may_have_missed_something_looks_again() -> None:
    subscriptions = Subscriptions()
    with ExitStack() as stack, subscriptions.listen("another topic") as subscription:
        places = line(stack, subscriptions, 2)

        subscriptions.publish([EVERYTHING])

        assert await rung(places) == [0, 1]
        assert await subscription.wait(1)


class Market:
    """Trials that come up in bursts, and as many claims that look a moment after they were woken, or fail.

    Beside them others give up early, perhaps just when they were woken.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._wakeups = Subscriptions()
        self.waiting = 0

    async def run(self, n_trials: int) -> None:
        """Return when everybody who stayed has a trial."""
        impatient = [self._want(patience_s=self._chance.uniform(0, 0.02)) for _ in range(n_trials)]
        patient = [self._want(patience_s=600) for _ in range(n_trials)]
        wanted = [*impatient, *patient]
        self._chance.shuffle(wanted)
        await asyncio.gather(self._offer(2 * n_trials), *wanted)

    async def _offer(self, n_trials: int) -> None:
        """What the impatient leave is taken at the end, so that the last ones have no more than one each."""
        while n_trials:
            await asyncio.sleep(self._chance.choice([0, 0.002]))
            burst = min(n_trials, self._chance.choice([1, 2, 50]))
            n_trials -= burst
            self.waiting += burst
            self._wakeups.publish([CLAIMS])

    async def _want(self, *, patience_s: float) -> None:
        """Take one trial, coming again after each failure; or give up."""
        while True:
            with suppress(OSError), self._wakeups.wait_in_queue(CLAIMS, "any") as place:
                while not await self._look(place):
                    if not await place.wait(patience_s):
                        return
                return
            await asyncio.sleep(0.05)

    async def _look(self, place: Waiter) -> bool:
        await asyncio.sleep(self._chance.choice([0, 0.001]))
        if self._chance.random() < 0.02:
            raise OSError
        if not self.waiting:
            return False
        self.waiting -= 1
        place.served()
        return True


@pytest.mark.parametrize("seed", range(20))
def test_everything_that_comes_up_is_taken_while_enough_wait(seed: int) -> None:
    async def run() -> int:
        market = Market(random.Random(seed))
        await asyncio.wait_for(market.run(100), timeout=30)
        return market.waiting

    assert 0 <= asyncio.run(run()) <= 100
