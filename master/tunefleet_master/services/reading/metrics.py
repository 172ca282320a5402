"""The state of the fleet, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tunefleet.protocol import StudyState
from tunefleet_master.storage import fleet, workers
from tunefleet_master.storage.fleet import Leases
from tunefleet_master.storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Fleet:
    """Counts of studies, waiting trials, leases and workers; times are in seconds, None: there is none."""

    studies: Mapping[StudyState, int]
    n_waiting: int
    """Trials that a worker could claim."""
    leases: Leases
    next_deadline_s: float | None
    """Until the next lease expires; negative after it has."""
    oldest_lease_s: float | None
    """Since the longest running attempt was claimed."""
    workers_alive: int
    sweep_age_s: float | None
    """Since the last sweep."""


def snapshot(uow: UnitOfWork) -> Fleet:
    """Read the state of the fleet; the cost does not depend on the number of finished trials."""
    leases = fleet.leases(uow.connection, now=uow.now)
    return Fleet(
        studies=fleet.studies_by_state(uow.connection),
        n_waiting=fleet.n_waiting(uow.connection),
        leases=leases,
        next_deadline_s=_until(leases.next_deadline, uow.now),
        oldest_lease_s=_since(fleet.oldest_claim(uow.connection), uow.now),
        workers_alive=workers.n_alive(uow.connection, uow.now - timedelta(seconds=uow.lease_s)),
        sweep_age_s=_since(fleet.last_sweep(uow.connection), uow.now),
    )


def _until(then: datetime | None, now: datetime) -> float | None:
    return None if then is None else (then - now).total_seconds()


def _since(then: datetime | None, now: datetime) -> float | None:
    return None if then is None else (now - then).total_seconds()
