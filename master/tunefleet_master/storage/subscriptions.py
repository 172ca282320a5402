"""Subscriptions of waiting requests, notified after commits from any thread.

A notification on a topic reaches all of its subscriptions. Of the waiters in a queue, such as those for a trial to
claim, it reaches only the first few. A waiter that was served wakes two more. So one new trial does not wake a
thousand waiters, and a thousand new trials wake all of them quickly.
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

FIRST_WOKEN = 16  # an empty claim costs little when it shares a transaction; waking one by one would cost time
SUCCESSORS = 2

PLANNER = "planner"
"""A study's queue of waiting trials may need filling."""


def events_of(study: str) -> str:
    """The topic of a study's events."""
    return f"events:{study}"


class Subscription:
    """Stores a notification until somebody waits for it."""

    def __init__(self) -> None:
        self._notified = asyncio.Event()

    def notify(self) -> None:
        """Wake the waiting task, or the next task that waits."""
        self._notified.set()

    @property
    def is_notified(self) -> bool:
        """True if a notification arrived that nobody has waited for yet."""
        return self._notified.is_set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for a notification; return True if one arrived."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._notified.wait()
        except TimeoutError:
            return False
        self._notified.clear()
        return True


class Waiter(Subscription):
    """A subscription with a position in a queue."""

    def __init__(self) -> None:
        super().__init__()
        self._is_served = False

    def mark_served(self) -> None:
        """Record that the waiter got all that it asked for, so there may be more for others."""
        self._is_served = True

    @property
    def n_successors(self) -> int:
        """The number of other waiters to wake when this one leaves."""
        return SUCCESSORS if self._is_served else int(self.is_notified)


WaitQueue = dict[Waiter, None]
"""Waiters in the order of their arrival."""


class Subscriptions:
    """The subscriptions of one process, by topic. Build it inside the event loop of the tasks that will subscribe."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._subscriptions: dict[str, set[Subscription]] = defaultdict(set)
        self._queues: dict[str, dict[Hashable, WaitQueue]] = defaultdict(dict)

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[Subscription]:
        """Subscribe to the topic. Subscribe first and read the state after that, and no notification is missed."""
        subscription = Subscription()
        self._subscriptions[topic].add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions[topic].discard(subscription)
            if not self._subscriptions[topic]:
                del self._subscriptions[topic]

    @contextmanager
    def wait_in_queue(self, topic: str, kind: Hashable) -> Iterator[Waiter]:
        """Join the queue of those who wait for the same kind of thing: what one of them cannot take, none can.

        Join first and read the state after that, and no notification is missed. Call `mark_served` when you got what
        you asked for. A waiter that leaves with an unread notification or with an error wakes the next one.
        """
        queue = self._queues[topic].setdefault(kind, {})
        waiter = Waiter()
        queue[waiter] = None
        try:
            yield waiter
        except BaseException:
            waiter.notify()
            raise
        finally:
            del queue[waiter]
            _wake(queue, waiter.n_successors)
            if not queue and self._queues[topic].get(kind) is queue:
                del self._queues[topic][kind]

    def publish(self, topics: Iterable[str]) -> None:
        """Notify all subscriptions of these topics; from any thread, also after the loop was closed."""
        topics = tuple(topics)
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._notify, topics)

    def _notify(self, topics: tuple[str, ...]) -> None:
        for topic in {*self._subscriptions, *self._queues} if EVERYTHING in topics else topics:
            for subscription in self._subscriptions.get(topic, ()):
                subscription.notify()
            for queue in self._queues.get(topic, {}).values():
                _wake(queue, FIRST_WOKEN)


def _wake(queue: WaitQueue, n: int) -> None:
    for waiter in list(islice((waiter for waiter in queue if not waiter.is_notified), n)):
        waiter.notify()
