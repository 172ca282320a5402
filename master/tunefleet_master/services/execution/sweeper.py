"""The sweeper: it requeues expired trials, ends studies that are out of time, and deletes unused data."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta

from tunefleet.errors import StorageUnusable
from tunefleet.logs import about
from tunefleet.protocol import Failure, TrialState
from tunefleet_master.lifecycle import outage
from tunefleet_master.services.execution import artifacts, retention
from tunefleet_master.services.execution.transitions import (
    announce,
    complete_if_done,
    end_attempt,
    out_of_time,
    verdict_of_failure,
)
from tunefleet_master.storage import attempts, leases, studies, trials, workers
from tunefleet_master.storage.attempts import Closing
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.observer import Measurement
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial

log = logging.getLogger(__name__)

MAX_EXPIRED = 1_000  # trials in one sweep, so that it never holds the writer for long
FORGET_WORKERS_AFTER = timedelta(days=30)
SWEEPS_PER_CLEANUP = 300


def sweep(uow: UnitOfWork, *, sweep_s: float) -> None:
    """Renew all leases after an outage, then requeue expired trials. Safe to run twice.

    Several masters sweep one after the other, since each locks the row with the time of the last sweep.
    """
    away = outage(workers.last_sweep(uow.connection), uow.now, sweep_s=sweep_s)
    workers.note_sweep(uow.connection, uow.now)
    if away:
        log.info("no master ran for %.0f s: all leases are renewed", away.total_seconds())
        leases.extend_all(uow.connection, uow.deadline)
    leases.cap_all(uow.connection, uow.deadline)
    for trial in leases.expired(uow.connection, now=uow.now, limit=MAX_EXPIRED):
        _requeue(uow, trial)
    for study in studies.running(uow.connection):
        if out_of_time(uow, study):
            _cancel_waiting(uow, study)
        complete_if_done(uow, study)
    workers.forget(uow.connection, uow.now - FORGET_WORKERS_AFTER)


def _cancel_waiting(uow: UnitOfWork, study: Study) -> None:
    message = "the study's hours are spent"
    for number in trials.cancel_waiting(uow.connection, study.id, message=message, now=uow.now):
        trial = trials.by_number(uow.connection, study, number)
        announce(uow, study, trial, state=TrialState.CANCELLED, message=message)


def _requeue(uow: UnitOfWork, trial: Trial) -> None:
    """Requeue a trial with an expired lease; its attempt stays open for a late result."""
    study = studies.by_id(uow.connection, trial.study_id)
    message = f"worker {trial.worker} was lost: no heartbeat for {uow.lease_s:g} s"
    verdict = verdict_of_failure(trial, study, failure=Failure.LOST, message=message, attempt_open=True)
    end_attempt(uow, trial, study, verdict=verdict)
    attempts.close(uow.connection, [Closing(trial, Failure.LOST, message)], now=uow.now)
    uow.measure(Measurement.LEASE_EXPIRED)
    fields = about(study=trial.study, trial=trial.number, trial_id=trial.id, attempt=trial.attempt, worker=trial.worker)
    log.warning("trial %d of study %s, attempt %d: %s", trial.number, trial.study, trial.attempt, message, extra=fields)


def collect(uow: UnitOfWork, delete: Callable[[str], None]) -> Sequence[str]:
    """Delete unreferenced content, in the writer's transaction, so the same content cannot be uploaded meanwhile."""
    hashes = artifacts.unreferenced(uow)
    for sha256 in hashes:
        delete(sha256)
    return hashes


class Sweeper:
    """Runs `sweep` every `sweep_s` seconds, and a cleanup every few minutes.

    Args:
        database: the master's.
        delete_blob: deletes stored content by its hash.
        sweep_s: seconds between two sweeps.
        keep_curves_days: the age of a finished study at which its curves are thinned; None: never.
    """

    def __init__(
        self,
        database: Database,
        delete_blob: Callable[[str], None],
        *,
        sweep_s: float = 2.0,
        keep_curves_days: float | None = None,
    ) -> None:
        self._database = database
        self._delete_blob = delete_blob
        self._sweep_s = sweep_s
        self._keep_curves_days = keep_curves_days

    async def run(self) -> None:
        """Sweep until cancelled; an unusable database is tried again at the next sweep."""
        n = 0
        while True:
            try:
                await self._database.awrite(lambda uow: sweep(uow, sweep_s=self._sweep_s))
                if n % SWEEPS_PER_CLEANUP == 0:
                    await self._clean_up()
            except StorageUnusable as error:
                log.error("sweep: %s", error)
            n += 1
            await asyncio.sleep(self._sweep_s)

    async def _clean_up(self) -> None:
        await self._database.awrite(lambda uow: collect(uow, self._delete_blob))
        if (days := self._keep_curves_days) is not None:
            while await self._database.awrite(lambda uow: retention.thin(uow, keep_days=days)):
                pass
