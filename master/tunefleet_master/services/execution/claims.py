"""Handing out trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tunefleet.names import TrialId
from tunefleet.protocol import ArtifactRef, ClaimRequest, Lease, TrialState, WorkerFacts
from tunefleet.study.folds import fold_of
from tunefleet.study.spec import TaskRun
from tunefleet.study.stages import steps_of
from tunefleet_master.search.registry import LEARNERS
from tunefleet_master.services.execution import preflight
from tunefleet_master.services.execution.transitions import announce, out_of_time
from tunefleet_master.storage import artifacts, attempts, leases, segments, studies, workers
from tunefleet_master.storage.leases import Claimant
from tunefleet_master.storage.segments import CHECKPOINT
from tunefleet_master.storage.subscriptions import PLANNER
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial
from tunefleet_master.storage.workers import Asking

ASKS_AT_LEAST_S = 2.0
"""A worker that does not wait for an answer asks again within this time, and finds what was proposed meanwhile."""


def claim(uow: UnitOfWork, requests: Sequence[ClaimRequest]) -> list[list[Lease]]:
    """Take up to `slots` waiting trials for each worker; an empty list where there is none that it may run.

    The same `request_id` gives the leases that it gave before, as long as they last.
    """
    workers.note(uow.connection, {request.worker: request.facts for request in requests}, now=uow.now)
    given = _given_before(uow, requests)
    turns = _Turns(uow)
    answers: list[list[Trial]] = []
    for request in requests:
        asked = (request.worker, request.request_id)
        if asked not in given or request.request_id is None:
            given[asked] = turns.take(request)
        answers.append(given[asked])
    turns.begin_attempts()
    if turns.learners:
        _note_asking(uow, requests, answers, learners=turns.learners)
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
    """Record who waits for trials and got none, so that the planner proposes some, and who waits no more."""
    asking = {}
    for request, answer in zip(requests, answers, strict=True):
        if answer:
            asking[request.worker] = Asking(0, None, uow.now)
        elif any(may_have(study, request.facts, wanted=request.study) for study in learners):
            until = uow.now + timedelta(seconds=max(request.wait_s, ASKS_AT_LEAST_S))
            asking[request.worker] = Asking(request.slots, request.study, until)
            uow.notify_after_commit(PLANNER)
    workers.note_asking(uow.connection, asking)


class _Turns:
    """Whose turn it is: of the studies with higher priority the one with the fewest trials running, then the older."""

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow
        self._studies = {
            study.id: study
            for study in studies.with_claimable_trials(uow.connection, or_samplers=LEARNERS)
            if not out_of_time(uow, study)
        }
        self.learners = [study for study in self._studies.values() if study.sampler in LEARNERS]
        several = len(self._studies) > 1
        self._n_running = Counter(studies.n_running(uow.connection, self._studies) if several else {})
        self._taken: list[Trial] = []

    def take(self, request: ClaimRequest) -> list[Trial]:
        """One trial after the other, from whichever study's turn it is, until the slots are filled."""
        taken: list[Trial] = []
        eligible = [study for study in self._studies.values() if may_have(study, request.facts, wanted=request.study)]
        while eligible and len(taken) < request.slots:
            study = min(eligible, key=lambda study: (-study.priority, self._n_running[study.id], study.id))
            # One at a time where studies share the slots, all at once where nobody else wants them.
            claimed = self._claim(study, request, limit=request.slots - len(taken) if len(eligible) == 1 else 1)
            if not claimed:
                eligible.remove(study)
                del self._studies[study.id]
            taken += claimed
        self._taken += taken
        return taken

    def begin_attempts(self) -> None:
        """Record the attempts of all that was taken."""
        if self._taken:
            attempts.begin(self._uow.connection, self._taken, now=self._uow.now)
            self._uow.notify_after_commit(PLANNER)

    def _claim(self, study: Study, request: ClaimRequest, *, limit: int) -> list[Trial]:
        claimant = Claimant(request.worker, request.request_id, self._uow.deadline)
        claimed = leases.claim(self._uow.connection, study, claimant, limit=limit, now=self._uow.now)
        for trial in claimed:
            announce(self._uow, study, trial, state=TrialState.RUNNING)
        self._n_running[study.id] += len(claimed)
        return claimed


def kind_of(request: ClaimRequest) -> Hashable:
    """What tells whether a request may have a trial: requests of one kind may have the same ones."""
    facts = request.facts
    return request.study, facts.allow_code, facts.preflight, facts.gpus_per_slot, frozenset(facts.labels)


def may_have(study: Study, facts: WorkerFacts, *, wanted: str | None) -> bool:
    """Whether the worker's slots fit the study (GPUs, labels, leave to run submitted code), and it wants this study.

    What a study gives out first may be its preflight, which a worker has to know how to run.
    """
    needs = study.spec.resources
    allowed = (facts.allow_code or isinstance(study.spec.run, TaskRun)) and (facts.preflight or study.is_checked)
    fits = allowed and facts.gpus_per_slot >= needs.gpus and set(needs.labels) <= set(facts.labels)
    return fits and wanted in (None, study.name)


def _leases(uow: UnitOfWork, claimed: Mapping[TrialId, Trial]) -> dict[TrialId, Lease]:
    if not claimed:
        return {}
    of_trials = studies.by_ids(uow.connection, {trial.study_id for trial in claimed.values()})
    beginnings = _beginnings(uow, claimed.values())
    return {trial.id: _lease(trial, of_trials[trial.study_id], beginnings.get(trial.id)) for trial in claimed.values()}


@dataclass(frozen=True, slots=True)
class _Beginning:
    """The checkpoint that an attempt goes on from, and the trial that it is of; None: the trial itself."""

    checkpoint: ArtifactRef
    of: TrialId | None = None


def _beginnings(uow: UnitOfWork, claimed: Collection[Trial]) -> dict[TrialId, _Beginning]:
    """Where trials go on: at their own newest checkpoint, or else at their parent's; those that begin are left out."""
    resumed = [trial.id for trial in claimed if trial.attempt > 1]
    children = {(trial.study_id, trial.parent) for trial in claimed if trial.parent is not None}
    parents = segments.ids(uow.connection, children) if children else {}
    wanted = [*resumed, *parents.values()]
    stored = artifacts.of_trials(uow.connection, wanted, name=CHECKPOINT) if wanted else {}
    found: dict[TrialId, _Beginning] = {}
    for trial in claimed:
        parent = None if trial.parent is None else parents.get((trial.study_id, trial.parent))
        if trial.attempt > 1 and stored[trial.id]:
            found[trial.id] = _Beginning(stored[trial.id][0])
        elif parent is not None and stored[parent]:
            found[trial.id] = _Beginning(stored[parent][0], of=parent)
    return found


def _lease(trial: Trial, study: Study, beginning: _Beginning | None) -> Lease:
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
        resume=None if beginning is None else beginning.checkpoint,
        resume_from=None if beginning is None else beginning.of,
        until=trial.until,
        preflight=preflight.order_of(study) if trial.is_preflight else None,
    )
