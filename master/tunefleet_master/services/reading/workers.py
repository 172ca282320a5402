"""The fleet as it is read."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from tunefleet.protocol import TrialView, WorkerView
from tunefleet_master.services.execution.eligibility import MAX_WORKERS, SEEN_WITHIN, WorkerStatus
from tunefleet_master.services.reading.views import trial_view
from tunefleet_master.storage import leases, studies
from tunefleet_master.storage import workers as stored
from tunefleet_master.storage.unit_of_work import UnitOfWork


def page(uow: UnitOfWork) -> list[WorkerView]:
    """All workers heard lately, with what they run."""
    rows = stored.all_since(uow.connection, uow.now - SEEN_WITHIN, limit=MAX_WORKERS)
    running: dict[str, list[TrialView]] = defaultdict(list)
    held = leases.held_by(uow.connection, [row.name for row in rows])
    of_trials = studies.by_ids(uow.connection, {trial.study_id for trial in held})
    for trial in held:
        running[trial.worker or ""].append(trial_view(trial, of_trials[trial.study_id]))
    return [_view(uow, row, running[row.name]) for row in rows]


def _view(uow: UnitOfWork, row: Row[*tuple[Any, ...]], running: list[TrialView]) -> WorkerView:
    worker = WorkerStatus.of(row, now=uow.now, lease_s=uow.lease_s)
    return WorkerView(
        name=row.name,
        facts=worker.facts,
        first_seen_at=row.first_seen_at,
        last_beat_at=row.last_beat_at,
        alive=worker.is_alive,
        rests_until=None if worker.rests_s is None else uow.now + timedelta(seconds=worker.rests_s),
        trials=running,
    )
