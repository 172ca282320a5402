"""Handing out trials."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from tunefleet.protocol import ArtifactRef, ClaimRequest, Lease, TrialState, WorkerFacts
from tunefleet.spec import TaskRun
from tunefleet_master.services.transitions import announce, out_of_time
from tunefleet_master.services.wakeups import PLANNER
from tunefleet_master.storage import artifacts, attempts, leases, studies, workers
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial

CHECKPOINT = "checkpoint.safetensors"
"""The artifact that a later attempt resumes from."""


def claim(uow: UnitOfWork, request: ClaimRequest) -> list[Lease]:
    """Take up to `slots` waiting trials for a worker; an empty list when there is none that it may run.

    The same `request_id` gives the leases that it gave before, as long as they last.
    """
    workers.note(uow.connection, request.worker, request.facts, now=uow.now)
    if request.request_id is not None:
        again = leases.claimed_by_request(uow.connection, request.worker, request.request_id)
        if again:
            return _leases(uow, again)
    taken = _take(uow, request)
    if taken:
        attempts.begin(uow.connection, taken, worker=request.worker, now=uow.now)
        uow.signal(PLANNER)
    return _leases(uow, taken)


def _take(uow: UnitOfWork, request: ClaimRequest) -> list[Trial]:
    """One trial at a time from whichever study's turn it is: higher priority first, then the fewest trials running."""
    turns = [
        (-study.priority, n_running, study.id, study)
        for study, n_running in studies.with_claimable_trials(uow.connection)
        if _may_run(study, request.facts) and request.study in (None, study.name) and not out_of_time(uow, study)
    ]
    heapq.heapify(turns)
    taken: list[Trial] = []
    while turns and len(taken) < request.slots:
        rank, n_running, study_id, study = heapq.heappop(turns)
        claimed = leases.claim(
            uow.connection,
            study_id,
            limit=1,
            worker=request.worker,
            request_id=request.request_id,
            deadline=uow.deadline,
            now=uow.now,
        )
        if claimed:
            taken += claimed
            announce(uow, study, claimed[0], state=TrialState.RUNNING)
            heapq.heappush(turns, (rank, n_running + 1, study_id, study))
    return taken


def _may_run(study: Study, facts: WorkerFacts) -> bool:
    """Whether the worker's slots fit the study: GPUs, labels, and leave to run submitted code."""
    needs = study.spec.resources
    allowed = facts.allow_code or isinstance(study.spec.run, TaskRun)
    return allowed and facts.gpus_per_slot >= needs.gpus and set(needs.labels) <= set(facts.labels)


def _leases(uow: UnitOfWork, claimed: Sequence[Trial]) -> list[Lease]:
    checkpoints = artifacts.of_trials(uow.connection, [trial.id for trial in claimed], name=CHECKPOINT)
    specs = {trial.study_id: studies.by_id(uow.connection, trial.study_id) for trial in claimed}
    return [_lease(trial, specs[trial.study_id], checkpoints[trial.id]) for trial in claimed]


def _lease(trial: Trial, study: Study, checkpoints: Sequence[ArtifactRef]) -> Lease:
    return Lease(
        trial_id=trial.id,
        attempt=trial.attempt,
        study=trial.study,
        number=trial.number,
        params=trial.params,
        seed=trial.seed,
        steps=study.spec.steps,
        run=study.spec.run,
        data=study.spec.data,
        objective=study.spec.objective,
        trial_timeout_s=study.spec.trial_timeout,
        resume=checkpoints[0] if checkpoints else None,
    )
