"""The fleet as it is read."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from tunefleet.protocol import TrialView, WorkerFacts, WorkerView
from tunefleet_master.services.views import trial_view
from tunefleet_master.storage import leases
from tunefleet_master.storage import workers as stored
from tunefleet_master.storage.unit_of_work import UnitOfWork

SHOWN_FOR = timedelta(days=1)
"""A worker that was not heard for so long is no longer listed."""

MAX_WORKERS = 5_000


def page(uow: UnitOfWork) -> list[WorkerView]:
    """All workers heard lately, with what they run."""
    rows = stored.all_since(uow.connection, uow.now - SHOWN_FOR, limit=MAX_WORKERS)
    running: dict[str, list[TrialView]] = defaultdict(list)
    for trial in leases.held_by(uow.connection, [row.name for row in rows]):
        running[trial.worker or ""].append(trial_view(trial))
    return [
        WorkerView(
            name=row.name,
            facts=WorkerFacts.model_validate(row.facts),
            first_seen_at=row.first_seen_at,
            last_beat_at=row.last_beat_at,
            alive=row.last_beat_at > uow.now - timedelta(seconds=uow.lease_s),
            trials=running[row.name],
        )
        for row in rows
    ]
