"""How long to go on trying, and how long to wait between two tries.

Exponential backoff with full jitter: the n-th wait is uniform in [0, min(cap, first * 2^n)], which spreads a fleet's
retries better than any other plain scheme (M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FIRST_WAIT_S = 0.1
MAX_WAIT_S = 10.0  # as long as between two heartbeats: a lease of 60 s is kept through a few of them
MAX_RETRY_AFTER_S = 300.0  # a Retry-After above it is a mistake of something between us and the master


class RetryPolicy:
    """One call's retries; the time runs from the first failure, and starts again when the call makes progress.

    Args:
        for_s: how long to go on after the first failure; None: for ever; 0: no retry at all.
        max_wait_s: the cap of the waits.
        now: a monotonic clock in seconds.
        draw: a uniform number in [0, 1).

    Attributes:
        failures: how often in a row it was asked for a wait.
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
        """Forget the failures so far, since something went well in between."""
        self.failures = 0
        self._deadline: float | None = None

    def wait_s(self, retry_after_s: float | None = None) -> float | None:
        """How long to wait after a failure before the next try; None: give up.

        Args:
            retry_after_s: what the other side asked for (`Retry-After`); the wait is never shorter.
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
