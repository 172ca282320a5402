"""Rate limits per client: a token bucket for each, in memory."""

from __future__ import annotations

import time
from collections.abc import Callable

from tunefleet.errors import TooManyRequests

BURST_S = 2.0  # an idle client may send as many requests at once as it may send in this time
MAX_CLIENTS = 10_000


class RateLimit:
    """Limits the request rate of each client.

    A bucket is one number, the time at which it will be full again (the "generic cell rate algorithm" of ATM).

    Args:
        per_s: the sustained number of requests per second that a client may send.
        clock: monotonic, in seconds.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap_s = 1 / per_s
        self._burst_s = max(BURST_S, self._gap_s)
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def take(self, client: str) -> None:
        """Count a request; raises TooManyRequests when the client exceeds its rate."""
        now = self._clock()
        full_at = max(now, self._full_at.get(client, 0.0)) + self._gap_s
        late_s = full_at - now - self._burst_s
        if late_s > 1e-9:
            raise TooManyRequests(
                f"{client} sends more than {1 / self._gap_s:,.0f} requests a second.",
                hint="Wait for the seconds in `Retry-After`.",
                retry_after_s=late_s,
            )
        if len(self._full_at) >= MAX_CLIENTS:
            self._forget(now)
        self._full_at[client] = full_at

    def _forget(self, now: float) -> None:
        """Forget clients with full buckets; forget all if none is full, which allows each one more burst."""
        self._full_at = {client: at for client, at in self._full_at.items() if at > now}
        if len(self._full_at) >= MAX_CLIENTS:
            self._full_at.clear()
