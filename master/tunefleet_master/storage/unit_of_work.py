"""What one request works with.

A connection inside a transaction, the time, and what is to be told once it is committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from tunefleet_master.storage.observer import Measurement


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that happened in a study."""

    study_id: int
    kind: str
    trial: int | None
    """The trial's number; None: it concerns the whole study."""
    at: datetime
    data: Mapping[str, Any]


@dataclass(slots=True)
class UnitOfWork:
    """The transaction of one request, or of several of one kind. Only the `Database` that made it ends it."""

    connection: Connection
    now: datetime
    """The master's clock when the request's turn came; aware, UTC. All times of the request are this one."""
    lease_s: float
    heartbeat_s: float
    topics: set[str] = field(default_factory=set)
    """Topics that are published after the commit, and not at all when there is none."""
    events: list[NewEvent] = field(default_factory=list)
    """What is written at the end of the transaction, so that the order of ids is the order of commits."""
    measurements: list[tuple[Measurement, float]] = field(default_factory=list)
    """What the observer is told once the transaction is committed."""

    @property
    def deadline(self) -> datetime:
        """When a lease that is given or extended now runs out."""
        return self.now + timedelta(seconds=self.lease_s)

    def notify_after_commit(self, topic: str) -> None:
        """Notify the subscribers of a topic after the commit."""
        self.topics.add(topic)

    def measure(self, what: Measurement, amount: float = 1.0) -> None:
        """Tell the observer after the commit."""
        self.measurements.append((what, amount))

    def record(self, study_id: int, kind: str, *, trial: int | None, data: Mapping[str, Any]) -> None:
        """Add to the study's events."""
        self.events.append(NewEvent(study_id, kind, trial, self.now, data))
