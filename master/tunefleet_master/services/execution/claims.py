"""Claims: trials given to workers under leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tunefleet.names import TrialId
from tunefleet.protocol import ArtifactRef, ClaimRequest, Lease, TrialState
from tunefleet.study.folds import fold_of
from tunefleet.study.stages import steps_of
from tunefleet_master.search.registry import learners
from tunefleet_master.services.execution import preflight
from tunefleet_master.services.execution.eligibility import Offer, may_take
from tunefleet_master.services.execution.fair_share import next_in_turn
from tunefleet_master.services.execution.transitions import announce, out_of_time
from tunefleet_master.storage import artifacts, attempts, leases, segments, studies, workers
from tunefleet_master.storage.leases import Claimant
from tunefleet_master.storage.segments import CHECKPOINT
from tunefleet_master.storage.subscriptions import PLANNER
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial
from tunefleet_master.storage.workers import Asking

MIN_ASKING_S = 2.0
"""Proposals are made this long for a worker that does not wait: it asks again within this time and finds them."""


def claim(uow: UnitOfWork, requests: Sequence[ClaimRequest]) -> list[list[Lease]]:
    """Claim up to `slots` waiting trials for each worker; an empty list where no trial is available to it.

    A repeated `request_id` returns the leases of its first claim while they are valid.
    """
    workers.note(uow.connection, {request.worker: request.facts for request in requests}, now=uow.now)
    given = _given_before(uow, requests)
    allocation = _Allocation(uow)
    answers: list[list[Trial]] = []
    for request in requests:
        asked = (request.worker, request.request_id)
        if asked not in given or request.request_id is None:
            given[asked] = allocation.claim(request)
        answers.append(given[asked])
    allocation.begin_attempts()
    if allocation.learners:
        _note_asking(uow, requests, answers, learners=allocation.learners)
    of_trials = _leases(uow, {trial.id: trial for answer in answers for trial in answer})
    return [[of_trials[trial.id] for trial in answer] for answer in answers]


def _given_before(uow: UnitOfWork, requests: Sequence[ClaimRequest]) -> dict[tuple[str, str | None], list[Trial]]:
    asked = {(request.worker, request.request_id) for request in requests if request.request_id is not None}
    given: dict[tuple[str, str | None], list[Trial]] = {}
    for request_id, trial in leases.claimed_by_requests(uow.connection, asked):
        given.setdefault((trial.worker or "", request_id), []).append(trial)
    return given


def _note_asking(
    uow: UnitOfWork,
    requests: Sequence[ClaimRequest],
    answers: Sequence[Sequence[Trial]],
    *,
    learners: Sequence[Study],
) -> None:
    """Record which workers got no trial, so that the planner proposes some, and which ones no longer ask."""
    asking = {}
    for request, answer in zip(requests, answers, strict=True):
        if answer:
            asking[request.worker] = Asking(0, None, uow.now)
        elif any(may_take(study, offer_of(request)) for study in learners):
            until = uow.now + timedelta(seconds=max(request.wait_s, MIN_ASKING_S))
            asking[request.worker] = Asking(request.slots, request.study, until)
            uow.notify_after_commit(PLANNER)
    workers.note_asking(uow.connection, asking)


class _Allocation:
    """The allocation of waiting trials to the workers of one transaction, in the order of `fair_share`."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self._studies = {
            study.id: study
            for study in studies.with_claimable_trials(uow.connection, or_samplers=learners())
            if not out_of_time(uow, study)
        }
        self.learners = [study for study in self._studies.values() if study.sampler in learners()]
        several = len(self._studies) > 1
        self._n_running = Counter(studies.n_running(uow.connection, self._studies) if several else {})
        self._claimed: list[Trial] = []

    def claim(self, request: ClaimRequest) -> list[Trial]:
        """Claim trials for a worker until its slots are filled or no eligible study has one."""
        found: list[Trial] = []
        offer = offer_of(request)
        eligible = [study for study in self._studies.values() if may_take(study, offer)]
        while eligible and len(found) < request.slots:
            study = next_in_turn(eligible, self._n_running)
            # One trial at a time where studies share the slots, all at once where one study gets them all.
            claimed = self._claim(study, request, limit=request.slots - len(found) if len(eligible) == 1 else 1)
            if not claimed:
                eligible.remove(study)
                del self._studies[study.id]
            found += claimed
        self._claimed += found
        return found

    def begin_attempts(self) -> None:
        """Record an attempt of each claimed trial."""
        if self._claimed:
            attempts.begin(self._uow.connection, self._claimed, now=self._uow.now)
            self._uow.notify_after_commit(PLANNER)

    def _claim(self, study: Study, request: ClaimRequest, *, limit: int) -> list[Trial]:
        claimant = Claimant(request.worker, request.request_id, self._uow.deadline)
        claimed = leases.claim(self._uow.connection, study, claimant, limit=limit, now=self._uow.now)
        for trial in claimed:
            announce(self._uow, study, trial, state=TrialState.RUNNING)
        self._n_running[study.id] += len(claimed)
        return claimed


def offer_of(request: ClaimRequest) -> Offer:
    """Return the offer of the worker that claims; requests with equal offers may get the same trials."""
    return Offer.of(request.facts, study=request.study)


def _leases(uow: UnitOfWork, claimed: Mapping[TrialId, Trial]) -> dict[TrialId, Lease]:
    if not claimed:
        return {}
    of_trials = studies.by_ids(uow.connection, {trial.study_id for trial in claimed.values()})
    starts = _resume_points(uow, claimed.values())
    return {trial.id: _lease(trial, of_trials[trial.study_id], starts.get(trial.id)) for trial in claimed.values()}


@dataclass(frozen=True, slots=True)
class _ResumePoint:
    """The checkpoint that an attempt resumes from, and the trial that stored it; None: the trial itself."""

    checkpoint: ArtifactRef
    of: TrialId | None = None


def _resume_points(uow: UnitOfWork, claimed: Collection[Trial]) -> dict[TrialId, _ResumePoint]:
    """Return each trial's own newest checkpoint, or else its parent's; trials that start from scratch are left out."""
    resumed = [trial.id for trial in claimed if trial.attempt > 1]
    children = {(trial.study_id, trial.parent) for trial in claimed if trial.parent is not None}
    parents = segments.ids(uow.connection, children) if children else {}
    wanted = [*resumed, *parents.values()]
    stored = artifacts.of_trials(uow.connection, wanted, name=CHECKPOINT) if wanted else {}
    found: dict[TrialId, _ResumePoint] = {}
    for trial in claimed:
        parent = None if trial.parent is None else parents.get((trial.study_id, trial.parent))
        if trial.attempt > 1 and stored[trial.id]:
            found[trial.id] = _ResumePoint(stored[trial.id][0])
        elif parent is not None and stored[parent]:
            found[trial.id] = _ResumePoint(stored[parent][0], of=parent)
    return found


def _lease(trial: Trial, study: Study, start: _ResumePoint | None) -> Lease:
    return Lease(
        trial_id=trial.id,
        attempt=trial.attempt,
        study=trial.study,
        number=trial.number,
        params=trial.params,
        seed=trial.seed,
        steps=steps_of(study.spec, trial.number),
        run=study.spec.run,
        data=study.spec.data,
        fold=fold_of(study.spec, trial.number),
        objective=study.spec.objective,
        result_metrics=study.spec.result_metrics if study.spec.several_objectives else (),
        trial_timeout_s=study.spec.trial_timeout,
        resume=None if start is None else start.checkpoint,
        resume_from=None if start is None else start.of,
        until=trial.until,
        preflight=preflight.order_of(study) if trial.is_preflight else None,
    )
