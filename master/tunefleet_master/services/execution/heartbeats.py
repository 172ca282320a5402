"""Heartbeats of workers, which renew their leases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tunefleet.protocol import HeartbeatRequest, HeartbeatResponse, StopOrder
from tunefleet_master.storage import leases, workers
from tunefleet_master.storage.leases import Fence
from tunefleet_master.storage.observer import Measurement
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Trial


def beat(uow: UnitOfWork, requests: Sequence[HeartbeatRequest]) -> list[HeartbeatResponse]:
    """Renew the leases that the workers still hold, also expired unclaimed ones, and answer with the lost ones."""
    last_heard = workers.note(uow.connection, {request.worker: request.facts for request in requests}, now=uow.now)
    for heard_at in last_heard.values():
        _measure_lag(uow, heard_at)
    trials = leases.held(uow.connection, {fence for request in requests for fence in _fences(request)})
    held = [
        [trial for fence in _fences(request) if (trial := trials.get(fence)) and trial.worker == request.worker]
        for request in requests
    ]
    leases.extend(uow.connection, {trial.id for of_one in held for trial in of_one}, deadline=uow.deadline)
    return [_answer(uow, request, of_one) for request, of_one in zip(requests, held, strict=True)]


def _fences(request: HeartbeatRequest) -> list[Fence]:
    return [(lease.trial_id, lease.attempt) for lease in request.leases]


def _answer(uow: UnitOfWork, request: HeartbeatRequest, held: Sequence[Trial]) -> HeartbeatResponse:
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


def _measure_lag(uow: UnitOfWork, heard_at: datetime | None) -> None:
    if heard_at is not None:
        late_s = (uow.now - heard_at).total_seconds() - uow.heartbeat_s
        uow.measure(Measurement.HEARTBEAT_LAG, max(0.0, late_s))
