"""Bells that waiting requests listen to, rung after commits from any thread."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from tunefleet_master.storage.notices import EVERYTHING

CLAIMS = "claims"
"""A trial became claimable."""

PLANNER = "planner"
"""A study's queue of waiting trials may need filling."""


def events_of(study: str) -> str:
    """The topic of a study's events."""
    return f"events:{study}"


class Bell:
    """Remembers that it was rung until somebody waits for it."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake whoever waits, or the next one who does."""
        self._rung.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until the bell is rung, at most so long; whether it was."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Wakeups:
    """The bells of one process, by topic. Build it inside the event loop whose tasks will listen."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._bells: dict[str, set[Bell]] = defaultdict(set)

    @contextmanager
    def listen(self, topic: str) -> Iterator[Bell]:
        """A bell that rings for the topic from now on. Listen first and look afterwards, and nothing is missed."""
        bell = Bell()
        self._bells[topic].add(bell)
        try:
            yield bell
        finally:
            self._bells[topic].discard(bell)
            if not self._bells[topic]:
                del self._bells[topic]

    def publish(self, topics: Iterable[str]) -> None:
        """Ring all bells of these topics; from any thread, also when the loop has closed."""
        topics = tuple(topics)
        with suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._ring, topics)

    def _ring(self, topics: tuple[str, ...]) -> None:
        for topic in self._bells if EVERYTHING in topics else topics:
            for bell in self._bells.get(topic, ()):
                bell.ring()
