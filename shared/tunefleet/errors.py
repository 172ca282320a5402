"""The errors of Tunefleet, one tree.

TunefleetError
├── InvalidInput            a body, a file or an argument breaks a rule; `problems` says which
│   └── NotAvailableYet     it is part of the grammar, and this version cannot run it
├── NotFound                there is no such study, trial, artifact, bundle
├── Conflict                the request is sound, the state of things forbids it
│   ├── StudyExists         another spec stands under this name
│   ├── LeaseLost           the lease on this trial has passed to another worker
│   ├── AttemptEnded        this attempt has ended with another outcome
│   ├── IllegalTransition   the state machine has no such arrow
│   ├── DuplicateConfiguration
│   └── BudgetTaken
├── Unauthorized            no token was shown, or it opens nothing
├── Forbidden               the token is good, and not for this
├── HostNotAllowed          the request was sent to a name that is none of the master's
├── TooManyRequests         one client asks more often than it may
├── TooLarge
├── StorageUnusable         the database is corrupt, newer than this program, locked, or its disk is full
└── MasterUnreachable       no answer from the master, after retries

Each class has a stable `code`, which is what crosses the wire; no class knows about HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule: which field, what stood there, what the rule is and what to do."""

    field: str
    rule: str
    value: str | None = None

    def __str__(self) -> str:
        """`space.lr.log = [0.1, 0.01]: low must be below high`."""
        place = self.field if self.value is None else f"{self.field} = {self.value}"
        return f"{place}: {self.rule}" if place else self.rule


class TunefleetError(Exception):
    """Something that Tunefleet can explain: `message` says what and where, `hint` what to do next."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """The message, and the hint behind it."""
        if not self.hint:
            return self.message
        stop = "" if self.message.endswith((".", "!", "?", "…")) else "."
        return f"{self.message}{stop} {self.hint}"


class InvalidInput(TunefleetError):
    """A body, a file or an argument breaks a rule."""

    code = "invalid_input"

    def __init__(self, problems: Iterable[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems), hint=hint)


class NotAvailableYet(InvalidInput):
    """It is part of the grammar, and this version cannot run it."""

    code = "not_available_yet"


class NotFound(TunefleetError):
    """There is no such thing."""

    code = "not_found"


class Unauthorized(TunefleetError):
    """The token is missing or wrong."""

    code = "unauthorized"


class Forbidden(TunefleetError):
    """The token is good, but not for this."""

    code = "forbidden"


class HostNotAllowed(TunefleetError):
    """The request was sent to a name that is none of the master's."""

    code = "host_not_allowed"


class TooManyRequests(TunefleetError):
    """One client asks more often than it may."""

    code = "too_many_requests"

    def __init__(self, message: str, *, hint: str | None = None, retry_after_s: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class TooLarge(TunefleetError):
    """A body, a bundle or a file is over its limit."""

    code = "too_large"


class Conflict(TunefleetError):
    """The request is sound, but the state of things forbids it."""

    code = "conflict"


class StudyExists(Conflict):
    """Another spec stands under this name."""

    code = "study_exists"


class LeaseLost(Conflict):
    """The lease on this trial has passed to another worker, or the trial has ended."""

    code = "lease_lost"


class AttemptEnded(Conflict):
    """This attempt has ended already, with another outcome."""

    code = "attempt_ended"


class IllegalTransition(Conflict):
    """The state machine has no such arrow."""

    code = "illegal_transition"


class DuplicateConfiguration(Conflict):
    """The study has a trial with this configuration."""

    code = "duplicate_configuration"


class BudgetTaken(Conflict):
    """The study's budget has no trial left."""

    code = "budget_taken"


class UploadOffset(Conflict):
    """A resumed upload starts at another byte than the one that the master holds next."""

    code = "upload_offset"

    def __init__(self, message: str, *, offset: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.offset = offset


class StorageUnusable(TunefleetError):
    """The database cannot be used: it is away, corrupt, locked, newer than this program, or its disk is full."""

    code = "storage_unusable"


class MasterUnreachable(TunefleetError):
    """The master did not answer, after retries."""

    code = "master_unreachable"
