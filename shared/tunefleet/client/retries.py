"""Retries with exponential backoff and full jitter.

The n-th wait is uniform in [0, min(cap, first * 2^n)]. Of the simple schemes this one spreads a fleet's retries best
(M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FIRST_WAIT_S = 0.1
MAX_WAIT_S = 10.0  # one heartbeat interval: a lease of 60 s survives several such waits
MAX_RETRY_AFTER_S = 300.0  # a longer Retry-After is an error of a proxy between the client and the master


class RetryPolicy:
    """The retries of one call; their time limit starts at the first failure, and again after `reset`.

    Args:
        for_s: the time limit, from the first failure; None: no limit; 0: no retries.
        max_wait_s: the cap of the waits.
        now: a monotonic clock in seconds.
        draw: returns a uniform number in [0, 1).

    Attributes:
        failures: the number of consecutive failures.
    """

    def __init__(
        self,
        for_s: float | None,
        *,
        max_wait_s: float = MAX_WAIT_S,
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._for_s = for_s
        self._max_wait_s = max_wait_s
        self._now = now
        self._draw = draw
        self.reset()

    def reset(self) -> None:
        """Forget the failures so far, because the call has made progress."""
        self.failures = 0
        self._deadline: float | None = None

    def wait_s(self, retry_after_s: float | None = None) -> float | None:
        """Return the wait after a failure, before the next attempt; None: give up.

        Args:
            retry_after_s: the server's `Retry-After`; the wait is never shorter, up to MAX_RETRY_AFTER_S.
        """
        if self._for_s == 0:
            return None
        wait_s = self._draw() * min(self._max_wait_s, FIRST_WAIT_S * 2.0 ** min(self.failures, 20))
        min_wait_s = min(retry_after_s or 0.0, MAX_RETRY_AFTER_S)
        self.failures += 1
        if self._for_s is None:
            return min_wait_s + wait_s
        if self._deadline is None:
            self._deadline = self._now() + self._for_s
        left_s = self._deadline - self._now()
        if left_s <= 0 or min_wait_s > left_s:
            return None
        return min(min_wait_s + wait_s, left_s)
