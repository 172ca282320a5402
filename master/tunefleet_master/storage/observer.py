"""What the database tells of its work to whoever counts it; storage itself knows no metrics system.

All times are `time.perf_counter()`, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from enum import StrEnum
from time import perf_counter
from typing import Literal, Protocol

Kind = Literal["read", "write"]


class Measurement(StrEnum):
    """What a unit of work can tell beside its result; it counts once the transaction is committed."""

    LEASE_EXPIRED = "lease_expired"
    """A lease that ran out; how many."""
    HEARTBEAT_LAG = "heartbeat_lag"
    """How long after its due time the master heard of a worker; seconds, 0 when in time."""


@dataclass(frozen=True, slots=True)
class Queued:
    """One request on its way into a transaction. Make it where the request is asked for, on the asking thread."""

    at: float = field(default_factory=perf_counter)
    context: Context = field(default_factory=copy_context)
    """The context variables of whoever asks: which trace the request belongs to."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that has ended."""

    kind: Kind
    began_at: float
    ended_at: float
    committed: bool
    """False: it was rolled back. A read counts as committed when it did not fail."""
    requests: Sequence[Queued]
    """The requests that shared it."""
    measurements: Sequence[tuple[Measurement, float]] = ()
    """What its units of work measured, of those whose work stands."""


class Observer(Protocol):
    """Called on the database's own threads, also at the same time: must be quick, and never raise."""

    def ended(self, transaction: Transaction) -> None:
        """A transaction has ended; called before its requests are answered or after."""

    def retried(self, kind: Kind, reason: str) -> None:
        """A transaction is run again, for one of few reasons such as `serialization` or `connection_lost`."""


class Silent:
    """Observes nothing."""

    def ended(self, transaction: Transaction) -> None:
        """Forget it."""

    def retried(self, kind: Kind, reason: str) -> None:
        """Forget it."""


class Several:
    """Tells several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def ended(self, transaction: Transaction) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.ended(transaction)

    def retried(self, kind: Kind, reason: str) -> None:
        """Tell each."""
        for observer in self._observers:
            observer.retried(kind, reason)
