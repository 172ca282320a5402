"""Bells that waiting requests listen to, rung after commits from any thread.

What comes up for everybody rings all bells of a topic. What comes up for somebody, such as a trial to claim, is told
to those who stand in line for it: to the first few, and whoever took something tells two more, so that a thousand who
wait are not woken for one trial, and are woken quickly for a thousand.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice

from tunefleet_master.storage.notifications import EVERYTHING

CLAIMS = "claims"
"""A trial became claimable."""

FIRST_WOKEN = 16  # a claim for nothing costs little beside others in one transaction; a chain from one costs time
SUCCESSORS = 2

PLANNER = "planner"
"""A study's queue of waiting trials may need filling."""


def events_of(study: str) -> str:
    """The topic of a study's events."""
    return f"events:{study}"


class Subscription:
    """Remembers that it was rung until somebody waits for it."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def notify(self) -> None:
        """Wake whoever waits, or the next one who does."""
        self._rung.set()

    @property
    def is_notified(self) -> bool:
        """Whether it was rung since somebody last waited for it."""
        return self._rung.is_set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until the bell is rung, at most so long; whether it was."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Waiter(Subscription):
    """A place in a line."""

    def __init__(self) -> None:
        super().__init__()
        self._is_served = False

    def served(self) -> None:
        """It got all that it asked for, so there may be more for others."""
        self._is_served = True

    @property
    def n_successors(self) -> int:
        """How many others are to be woken when it leaves."""
        return SUCCESSORS if self._is_served else int(self.is_notified)


WaitQueue = dict[Waiter, None]
"""In the order in which they came."""


class Subscriptions:
    """The bells of one process, by topic. Build it inside the event loop whose tasks will listen."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._bells: dict[str, set[Subscription]] = defaultdict(set)
        self._lines: dict[str, dict[Hashable, WaitQueue]] = defaultdict(dict)

    @contextmanager
    def listen(self, topic: str) -> Iterator[Subscription]:
        """A subscription that rings for the topic from now on. Listen first and look afterwards, and nothing is missed."""
        subscription = Subscription()
        self._bells[topic].add(subscription)
        try:
            yield subscription
        finally:
            self._bells[topic].discard(subscription)
            if not self._bells[topic]:
                del self._bells[topic]

    @contextmanager
    def wait_in_queue(self, topic: str, kind: Hashable) -> Iterator[Waiter]:
        """A place among those who wait for the same kind of thing: what one of them cannot take, none can.

        Its subscription rings when its turn may have come. Come first and look afterwards, and nothing is missed; tell it when
        you were `served`. Whoever leaves with its bell rung and unheard, or with an error, wakes the next one instead.
        """
        line = self._lines[topic].setdefault(kind, {})
        place = Waiter()
        line[place] = None
        try:
            yield place
        except BaseException:
            place.notify()
            raise
        finally:
            del line[place]
            _wake(line, place.n_successors)
            if not line and self._lines[topic].get(kind) is line:
                del self._lines[topic][kind]

    def publish(self, topics: Iterable[str]) -> None:
        """Ring all bells of these topics; from any thread, also when the loop has closed."""
        topics = tuple(topics)
        with suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._ring, topics)

    def _ring(self, topics: tuple[str, ...]) -> None:
        for topic in {*self._bells, *self._lines} if EVERYTHING in topics else topics:
            for subscription in self._bells.get(topic, ()):
                subscription.notify()
            for line in self._lines.get(topic, {}).values():
                _wake(line, FIRST_WOKEN)


def _wake(line: WaitQueue, n: int) -> None:
    for place in list(islice((place for place in line if not place.is_notified), n)):
        place.notify()
