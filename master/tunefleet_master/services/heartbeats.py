"""Keeping leases alive."""

from __future__ import annotations

from tunefleet.protocol import HeartbeatRequest, HeartbeatResponse, StopOrder
from tunefleet_master.storage import leases, workers
from tunefleet_master.storage.unit_of_work import UnitOfWork


def beat(uow: UnitOfWork, request: HeartbeatRequest) -> HeartbeatResponse:
    """Extend all leases that the worker still holds, one that ran out unclaimed included, and name the others."""
    workers.note(uow.connection, request.worker, request.facts, now=uow.now)
    held = leases.extend(uow.connection, request.leases, worker=request.worker, deadline=uow.deadline)
    held_ids = {trial.id for trial in held}
    return HeartbeatResponse(
        lost=[lease.trial_id for lease in request.leases if lease.trial_id not in held_ids],
        stop=[
            StopOrder(trial_id=trial.id, reason=trial.stop, message=trial.stop_message)
            for trial in held
            if trial.stop is not None
        ],
        lease_s=uow.lease_s,
        heartbeat_s=uow.heartbeat_s,
    )
