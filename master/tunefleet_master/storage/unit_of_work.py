"""What one request works with.

A connection inside a transaction, the time, and the bells to ring once it is committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection


@dataclass(slots=True)
class UnitOfWork:
    """One request's transaction. Only the `Database` that made it commits or rolls it back."""

    connection: Connection
    now: datetime
    """The master's clock when the request's turn came; aware, UTC. All times of the request are this one."""
    lease_s: float
    heartbeat_s: float
    signals: set[str] = field(default_factory=set)
    """Topics that are published after the commit, and not at all when there is none."""

    @property
    def deadline(self) -> datetime:
        """When a lease that is given or extended now runs out."""
        return self.now + timedelta(seconds=self.lease_s)

    def signal(self, topic: str) -> None:
        """Ring the topic's bell after the commit."""
        self.signals.add(topic)
