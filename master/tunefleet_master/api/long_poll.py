"""Waiting on somebody's behalf: for a bell, for as long as it makes sense."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from starlette.requests import Request

from tunefleet_master.storage.subscriptions import Subscription


class LongPoll:
    """Waits for a bell until the time is over, the client has gone, or the master shuts down.

    Use it as a context; after it the watch on the client ends. The request's body must have been read before.
    """

    def __init__(self, request: Request, closing: asyncio.Event, *, wait_s: float) -> None:
        self._request = request
        self._closing = closing
        self._deadline = asyncio.get_running_loop().time() + wait_s
        self._ends: set[asyncio.Task[object]] = set()

    async def __aenter__(self) -> Self:
        self._ends = {asyncio.create_task(self._closing.wait()), asyncio.create_task(_gone(self._request))}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._ends:
            task.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)

    async def rings(self, subscription: Subscription) -> bool:
        """True: the bell rang, look again. False: nobody waits any more; a bell that rang meanwhile stays rung."""
        left_s = self._deadline - asyncio.get_running_loop().time()
        if left_s <= 0 or self._is_over():
            return False
        ring = asyncio.create_task(subscription.wait(left_s))
        try:
            await asyncio.wait({ring, *self._ends}, return_when=asyncio.FIRST_COMPLETED)
            rang = ring.done() and ring.result()
            if rang and self._is_over():
                subscription.notify()
            return rang and not self._is_over()
        finally:
            ring.cancel()

    def _is_over(self) -> bool:
        return any(task.done() for task in self._ends)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
