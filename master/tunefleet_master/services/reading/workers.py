"""Workers as users read them."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from tunefleet.protocol import TrialView, WorkerView
from tunefleet_master.services.execution.eligibility import MAX_WORKERS, SEEN_WITHIN, WorkerStatus
from tunefleet_master.services.reading.views import trial_view
from tunefleet_master.storage import leases, studies
from tunefleet_master.storage import workers as stored
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.workers import Worker


def page(uow: UnitOfWork) -> list[WorkerView]:
    """Return the workers that were heard within a day, with the trials that they run."""
    found = stored.all_since(uow.connection, uow.now - SEEN_WITHIN, limit=MAX_WORKERS)
    running: dict[str, list[TrialView]] = defaultdict(list)
    held = leases.held_by(uow.connection, [worker.name for worker in found])
    of_trials = studies.by_ids(uow.connection, {trial.study_id for trial in held})
    for trial in held:
        running[trial.worker or ""].append(trial_view(trial, of_trials[trial.study_id]))
    return [_view(uow, worker, running[worker.name]) for worker in found]


def _view(uow: UnitOfWork, worker: Worker, running: list[TrialView]) -> WorkerView:
    status = WorkerStatus.of(worker, now=uow.now, lease_s=uow.lease_s)
    return WorkerView(
        name=worker.name,
        facts=worker.facts,
        first_seen_at=worker.first_seen_at,
        last_beat_at=worker.last_beat_at,
        alive=status.is_alive,
        rests_until=None if status.rests_s is None else uow.now + timedelta(seconds=status.rests_s),
        trials=running,
    )
