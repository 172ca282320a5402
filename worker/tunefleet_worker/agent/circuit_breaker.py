"""A circuit breaker: after several different trials failed in a row the agent claims none for a time, then one; pure.

The cause may be the machine (a broken driver, a full disk) or the code of several studies; the agent cannot tell them
apart. A broken machine would fail all of a study's trials; a failing study ends by itself. So the worker does not stop:
each cooldown is twice as long as the last; after it, one trial closes or reopens the breaker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from tunefleet.names import TrialId
from tunefleet.protocol import EndResponse, Failure, Lease, StudyState
from tunefleet_worker.spool import End

MAX_FAILURES = 3  # different trials in a row: after this many the worker is the likelier cause
FIRST_COOLDOWN_S = 60.0  # a full disk or a stopped study: many causes are repaired within minutes
MAX_COOLDOWN_FACTOR = 30  # a broken worker may cost one trial in half an hour
MAX_STATUS_CHARACTERS = 500  # the limit of the protocol

OWN_FAILURES = frozenset({Failure.ERROR, Failure.OUT_OF_MEMORY, Failure.TIMEOUT})
"""Failures that the worker may have caused."""


@dataclass(frozen=True, slots=True)
class FailedTrial:
    """A trial that failed on this worker."""

    trial_id: TrialId
    name: str


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """The breaker's state: closed, open until a time, and half-open after that time.

    Attributes:
        first_cooldown_s: duration of the first cooldown.
        failures: the newest different trials that failed in a row.
        cooldown_s: duration of the newest cooldown; 0 before the first.
        open_until: end of the newest cooldown; None while the breaker is closed.
    """

    first_cooldown_s: float = FIRST_COOLDOWN_S
    failures: tuple[FailedTrial, ...] = ()
    cooldown_s: float = 0.0
    open_until: float | None = None

    @property
    def is_open(self) -> bool:
        """True while the breaker is open or half-open: the worker runs one trial at most."""
        return self.open_until is not None

    def cooldown_left_s(self, now: float) -> float | None:
        """Return the time until the cooldown ends; None when there is no cooldown."""
        return self.open_until - now if self.open_until is not None and now < self.open_until else None

    def after_end(self, lease: Lease, end: End, *, answer: EndResponse | None, now: float) -> Self:
        """Return the breaker after an attempt has ended; `answer` is None when the master refused the end."""
        if answer is None or end.outcome == "released":
            return self
        # A study that is paused for its failures caused them itself.
        if end.outcome == "complete" or answer.study_state is StudyState.PAUSED:
            return replace(self, failures=(), cooldown_s=0.0, open_until=None)
        return self._after_failure(lease, now) if end.failure in OWN_FAILURES else self

    def _after_failure(self, lease: Lease, now: float) -> Self:
        others = [each for each in self.failures if each.trial_id != lease.trial_id]
        failed = FailedTrial(lease.trial_id, f"{lease.study}/{lease.number}")
        noted = replace(self, failures=(*others, failed)[-MAX_FAILURES:])
        if len(noted.failures) < MAX_FAILURES or self.cooldown_left_s(now) is not None:
            return noted
        cooldown_s = min(2 * self.cooldown_s or self.first_cooldown_s, MAX_COOLDOWN_FACTOR * self.first_cooldown_s)
        return replace(noted, cooldown_s=cooldown_s, open_until=now + cooldown_s)

    def status(self, now: float) -> str:
        """Return one line for a person; empty while the breaker is closed."""
        if not self.is_open:
            return ""
        action = "tries one trial" if self.cooldown_left_s(now) is None else "rests"
        names = ", ".join(each.name for each in self.failures)
        return f"{action}: {len(self.failures)} different trials failed here in a row ({names})"[:MAX_STATUS_CHARACTERS]
