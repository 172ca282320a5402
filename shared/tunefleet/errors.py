"""The errors of Tunefleet, as one tree.

TunefleetError
├── InvalidInput            a body, file or argument is invalid; `problems` names the fields
│   └── NotAvailableYet     it is valid, but this version cannot run it
├── NotFound                the study, trial, artifact or bundle does not exist
├── Conflict                the request is valid, but conflicts with the current state
│   ├── StudyExists         a study with this name and another spec exists
│   ├── LeaseLost           another worker holds the lease, or the trial has ended
│   ├── AttemptEnded        the attempt has ended with another outcome
│   ├── IllegalTransition   the current state does not allow the transition
│   ├── DuplicateConfiguration
│   └── BudgetTaken
├── Unauthorized            the token is missing or wrong
├── Forbidden               the token does not allow the request
├── HostNotAllowed          the request uses a host name that the master does not allow
├── TooManyRequests         the client exceeds its rate limit
├── TooLarge
├── StorageUnusable         the database is down, corrupt, locked, newer than this program, or its disk is full
└── MasterUnreachable       the master did not respond, after retries

Each class has a stable `code`, which the wire carries. No class knows about HTTP. The first line of a docstring is the
title of the problem document.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One violated rule: the field, its value, and the rule with what to do."""

    field: str
    rule: str
    value: str | None = None

    def __str__(self) -> str:
        """Return `space.lr.log = [0.1, 0.01]: low must be below high`."""
        where = self.field if self.value is None else f"{self.field} = {self.value}"
        return f"{where}: {self.rule}" if where else self.rule


class TunefleetError(Exception):
    """An error that Tunefleet can explain: `message` states what failed, `hint` what to do next."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the message, followed by the hint."""
        if not self.hint:
            return self.message
        stop = "" if self.message.endswith((".", "!", "?", "…")) else "."
        return f"{self.message}{stop} {self.hint}"


class InvalidInput(TunefleetError):
    """The input is invalid."""

    code = "invalid_input"

    def __init__(self, problems: Iterable[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems), hint=hint)


class NotAvailableYet(InvalidInput):
    """The input is valid, but this version cannot run it."""

    code = "not_available_yet"


class NotFound(TunefleetError):
    """The resource does not exist."""

    code = "not_found"


class Unauthorized(TunefleetError):
    """The token is missing or wrong."""

    code = "unauthorized"


class Forbidden(TunefleetError):
    """The token does not allow this request."""

    code = "forbidden"


class HostNotAllowed(TunefleetError):
    """The request uses a host name that the master does not allow."""

    code = "host_not_allowed"


class TooManyRequests(TunefleetError):
    """The client exceeds its rate limit."""

    code = "too_many_requests"

    def __init__(self, message: str, *, hint: str | None = None, retry_after_s: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class TooLarge(TunefleetError):
    """The body, bundle or file exceeds its size limit."""

    code = "too_large"


class Conflict(TunefleetError):
    """The request conflicts with the current state."""

    code = "conflict"


class StudyExists(Conflict):
    """A study with this name and another spec exists."""

    code = "study_exists"


class LeaseLost(Conflict):
    """Another worker holds the lease on this trial, or the trial has ended."""

    code = "lease_lost"


class AttemptEnded(Conflict):
    """The attempt has already ended with another outcome."""

    code = "attempt_ended"


class IllegalTransition(Conflict):
    """The current state does not allow this transition."""

    code = "illegal_transition"


class DuplicateConfiguration(Conflict):
    """The study already has a trial with this configuration."""

    code = "duplicate_configuration"


class BudgetTaken(Conflict):
    """The study's budget has no trial left."""

    code = "budget_taken"


class UploadOffset(Conflict):
    """The upload must resume at another byte."""

    code = "upload_offset"

    def __init__(self, message: str, *, offset: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.offset = offset


class StorageUnusable(TunefleetError):
    """The database is down, corrupt, locked, newer than this program, or its disk is full."""

    code = "storage_unusable"


class MasterUnreachable(TunefleetError):
    """The master did not respond, after retries."""

    code = "master_unreachable"
