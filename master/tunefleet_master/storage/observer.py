"""The observer of the database: it receives durations and counts. Storage itself knows no metrics system.

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
    """A measurement that a unit of work reports beside its result; it counts once the transaction is committed."""

    LEASE_EXPIRED = "lease_expired"
    """The number of leases that expired."""
    HEARTBEAT_LAG = "heartbeat_lag"
    """Delay of a heartbeat after its due time; seconds, 0 when it was in time."""


@dataclass(frozen=True, slots=True)
class Queued:
    """One queued request. Create it on the thread that makes the request."""

    at: float = field(default_factory=perf_counter)
    context: Context = field(default_factory=copy_context)
    """The context variables of the caller, which name the trace of the request."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that has ended."""

    kind: Kind
    began_at: float
    ended_at: float
    committed: bool
    """False: it was rolled back. A read counts as committed unless it failed."""
    requests: Sequence[Queued]
    """The requests that shared the transaction."""
    measurements: Sequence[tuple[Measurement, float]] = ()
    """The measurements of the units of work that were committed."""


class Observer(Protocol):
    """Called on the database's own threads, also concurrently: must be quick, and must not raise."""

    def ended(self, transaction: Transaction) -> None:
        """Handle the end of a transaction; called before or after its requests are answered."""

    def retried(self, kind: Kind, reason: str) -> None:
        """Handle a retry of a transaction, for one of few reasons such as `serialization` or `connection_lost`."""


class NullObserver:
    """An observer that ignores everything."""

    def ended(self, transaction: Transaction) -> None:
        """Ignore it."""

    def retried(self, kind: Kind, reason: str) -> None:
        """Ignore it."""


class CompositeObserver:
    """Forwards each call to several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def ended(self, transaction: Transaction) -> None:
        """Forward it to each observer."""
        for observer in self._observers:
            observer.ended(transaction)

    def retried(self, kind: Kind, reason: str) -> None:
        """Forward it to each observer."""
        for observer in self._observers:
            observer.retried(kind, reason)
