"""The unit of work of a request.

It has a connection inside a transaction, the time, and what to publish after the commit.
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
    """The trial's number; None for an event of the whole study."""
    at: datetime
    data: Mapping[str, Any]


@dataclass(slots=True)
class UnitOfWork:
    """The transaction of one request, or of several of one kind. Only the `Database` that created it ends it."""

    connection: Connection
    now: datetime
    """The master's clock when the request was served; aware, UTC. All times of the request are equal to it."""
    lease_s: float
    heartbeat_s: float
    topics: set[str] = field(default_factory=set)
    """Topics to publish after the commit; not published without a commit."""
    events: list[NewEvent] = field(default_factory=list)
    """Events to write at the end of the transaction, so that the order of ids is the order of commits."""
    measurements: list[tuple[Measurement, float]] = field(default_factory=list)
    """Measurements for the observer, reported after the commit."""

    @property
    def deadline(self) -> datetime:
        """The deadline of a lease that is granted or extended now."""
        return self.now + timedelta(seconds=self.lease_s)

    def notify_after_commit(self, topic: str) -> None:
        """Notify the subscribers of a topic after the commit."""
        self.topics.add(topic)

    def measure(self, what: Measurement, amount: float = 1.0) -> None:
        """Report a measurement to the observer after the commit."""
        self.measurements.append((what, amount))

    def record(self, study_id: int, kind: str, *, trial: int | None, data: Mapping[str, Any]) -> None:
        """Add an event to the study."""
        self.events.append(NewEvent(study_id, kind, trial, self.now, data))
