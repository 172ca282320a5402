"""Whether an agent should take trials: after several different ones failed in a row it rests, then tries one; pure.

The fault may be the machine's (a broken driver, a full disk) or that of the code of several studies. From here both
look the same; the first would burn a study's trials, the second passes by itself. So the worker does not stop for good:
each rest is twice as long as the one before, and one trial at its end decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from tunefleet.names import TrialId
from tunefleet.protocol import EndResponse, Failure, Lease, StudyState
from tunefleet_worker.spool import End

MAX_FAILURES = 3  # different trials in a row that failed by themselves: then it is rather the worker than the trials
FIRST_REST_S = 60.0  # a cable, a full disk, a study that its user stops: much of what fails is mended in minutes
MAX_REST_FACTOR = 30  # one trial in half an hour is a price that a broken worker may cost
MAX_STATUS = 500  # characters that the protocol takes

OWN_FAILURES = frozenset({Failure.ERROR, Failure.OUT_OF_MEMORY, Failure.TIMEOUT})
"""What may be the worker's fault."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A trial that failed here."""

    trial_id: TrialId
    name: str


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """How trials have ended here lately.

    Attributes:
        first_rest_s: how long the first rest of a row is.
        failures: the newest different trials that failed by themselves, with no good one between them.
        rest_s: how long the last rest of this row was or is; 0 before the first.
        rests_until: the end of that rest; None while the worker is trusted.
    """

    first_rest_s: float = FIRST_REST_S
    failures: tuple[Failed, ...] = ()
    rest_s: float = 0.0
    rests_until: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether too many trials failed here for more than one at a time to be risked."""
        return self.rests_until is not None

    def resting_s(self, now: float) -> float | None:
        """How long the rest lasts still; None when there is none."""
        return self.rests_until - now if self.rests_until is not None and now < self.rests_until else None

    def after(self, lease: Lease, end: End, *, answer: EndResponse | None, now: float) -> Self:
        """The health when one more attempt has ended and the master has answered."""
        if answer is None or end.outcome == "released":
            return self
        # A study that is paused for its failures was at fault itself.
        if end.outcome == "complete" or answer.study_state is StudyState.PAUSED:
            return replace(self, failures=(), rest_s=0.0, rests_until=None)
        return self._after_failure(lease, now) if end.failure in OWN_FAILURES else self

    def _after_failure(self, lease: Lease, now: float) -> Self:
        others = [each for each in self.failures if each.trial_id != lease.trial_id]
        failed = Failed(lease.trial_id, f"{lease.study}/{lease.number}")
        noted = replace(self, failures=(*others, failed)[-MAX_FAILURES:])
        if len(noted.failures) < MAX_FAILURES or self.resting_s(now) is not None:
            return noted
        rest_s = min(2 * self.rest_s or self.first_rest_s, MAX_REST_FACTOR * self.first_rest_s)
        return replace(noted, rest_s=rest_s, rests_until=now + rest_s)

    def status(self, now: float) -> str:
        """One line for a worker's fellow humans, empty when all is well."""
        if not self.is_open:
            return ""
        what = "tries one trial" if self.resting_s(now) is None else "rests"
        names = ", ".join(each.name for each in self.failures)
        return f"{what}: {len(self.failures)} different trials failed here in a row ({names})"[:MAX_STATUS]
