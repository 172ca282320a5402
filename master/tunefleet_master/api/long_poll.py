"""Long polls: requests that wait for a notification."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.requests import Request

from tunefleet_master.storage.subscriptions import Subscription


class LongPoll:
    """Waits for notifications until the time is over, the client disconnects, or the master shuts down.

    Use it as a context manager, whose end stops watching the client. The request's body must have been read before.
    """

    def __init__(self, request: Request, closing: asyncio.Event, *, wait_s: float) -> None:
        self._request = request
        self._closing = closing
        self._deadline = asyncio.get_running_loop().time() + wait_s
        self._ends: set[asyncio.Task[object]] = set()

    async def __aenter__(self) -> Self:
        self._ends = {asyncio.create_task(self._closing.wait()), asyncio.create_task(_disconnected(self._request))}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._ends:
            task.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)

    async def wait(self, subscription: Subscription) -> bool:
        """Return True on a notification, and False when the poll is over; an unread notification then stays stored."""
        left_s = self._deadline - asyncio.get_running_loop().time()
        if left_s <= 0 or self._is_over():
            return False
        waiting = asyncio.create_task(subscription.wait(left_s))
        try:
            await asyncio.wait({waiting, *self._ends}, return_when=asyncio.FIRST_COMPLETED)
            is_notified = waiting.done() and waiting.result()
            if is_notified and self._is_over():
                subscription.notify()
            return is_notified and not self._is_over()
        finally:
            waiting.cancel()

    def _is_over(self) -> bool:
        return any(task.done() for task in self._ends)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
