"""Figures of the whole fleet, for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from tunefleet.protocol import TrialState
from tunefleet_master.storage import studies, workers
from tunefleet_master.storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class FleetCounts:
    """How many there are of what."""

    trials: Mapping[TrialState, int]
    running_studies: int
    workers_alive: int


def snapshot(uow: UnitOfWork) -> FleetCounts:
    """Trials of the running studies by state, and the workers heard within a lease."""
    running = studies.running(uow.connection)
    total: Counter[TrialState] = Counter()
    for counts in studies.counts(uow.connection, [study.id for study in running]).values():
        total.update(counts)
    alive = workers.n_alive(uow.connection, uow.now - timedelta(seconds=uow.lease_s))
    return FleetCounts(trials=total, running_studies=len(running), workers_alive=alive)
