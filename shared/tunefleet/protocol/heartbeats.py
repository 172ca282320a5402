"""Heartbeats of workers, and the orders that answer them."""

from __future__ import annotations

from pydantic import Field

from tunefleet.model import Model
from tunefleet.names import MAX_ID, Name, TrialId
from tunefleet.protocol.fields import AttemptNumber
from tunefleet.protocol.workers import WorkerFacts
from tunefleet.study.states import StopReason


class HeldLease(Model):
    """A lease that a worker holds."""

    trial_id: TrialId = Field(ge=0, le=MAX_ID)
    attempt: AttemptNumber


class HeartbeatRequest(Model):
    """All leases of a worker in one call."""

    worker: Name
    leases: list[HeldLease] = Field(default_factory=list, max_length=1_024)
    facts: WorkerFacts = WorkerFacts()


class StopOrder(Model):
    """An order to stop a trial whose lease is still held."""

    trial_id: TrialId
    reason: StopReason
    message: str = ""


class HeartbeatResponse(Model):
    """The leases that are lost and the trials that must stop. All other leases are extended by `lease_s` from now."""

    lost: list[TrialId]
    stop: list[StopOrder]
    lease_s: float
    heartbeat_s: float
