"""Trials that users ask for: new configurations, and failed trials again."""

from __future__ import annotations

from tunefleet.errors import BudgetTaken, Conflict, DuplicateConfiguration
from tunefleet.protocol import EnqueueRequest, RetryRequest, RetryResponse, StudyState, TrialState
from tunefleet.study.space import Configuration
from tunefleet_master.search.registry import populations
from tunefleet_master.services.execution.transitions import announce, change_study
from tunefleet_master.services.planning.creation import create_by_hand, number_with
from tunefleet_master.storage import studies, trials
from tunefleet_master.storage.subscriptions import CLAIMS
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial


def enqueue(uow: UnitOfWork, name: str, request: EnqueueRequest) -> list[Trial]:
    """Create trials for configurations of a user, for all or none of them.

    Raises:
        NotFound, Conflict: the study was stopped, or trains a population.
        InvalidInput: not a configuration of the space.
        DuplicateConfiguration: a trial has it. BudgetTaken: the budget has no trial left.
    """
    study_id = studies.get(uow.connection, name).id
    study = studies.lock(uow.connection, study_id)
    _refuse_stopped(study, "take trials")
    _refuse_population(study)
    added = [_add(uow, study_id, study.spec.search_space.check(params)) for params in request.params]
    if study.state is StudyState.COMPLETE:
        change_study(uow, study, StudyState.RUNNING)
    uow.notify_after_commit(CLAIMS)
    return added


def retry(uow: UnitOfWork, name: str, request: RetryRequest) -> RetryResponse:
    """Let failed trials run again; raises NotFound, or Conflict when the study was stopped."""
    study = studies.get(uow.connection, name)
    _refuse_stopped(study, "run trials again")
    if study.sampler in populations():  # other members must not continue from a trial that is being retried
        study = studies.lock(uow.connection, study.id)
        studies.set_position(uow.connection, study.id, position=study.position, exhausted=False)
    numbers = trials.retry(uow.connection, study.id, request.failures, now=uow.now)
    for number in numbers:
        announce(uow, study, trials.by_number(uow.connection, study, number), state=TrialState.WAITING)
    if numbers and study.state is StudyState.COMPLETE:
        change_study(uow, study, StudyState.RUNNING)
    uow.notify_after_commit(CLAIMS)
    return RetryResponse(numbers=numbers)


def _refuse_stopped(study: Study, purpose: str) -> None:
    if study.state is StudyState.STOPPED:
        raise Conflict(
            f"study {study.name!r} was stopped and cannot {purpose}.",
            hint="Submit it under another name.",
        )


def _refuse_population(study: Study) -> None:
    if study.sampler in populations():
        raise Conflict(
            f"study {study.name!r} trains a population, and takes no configurations by hand: they would belong to none "
            "of its members.",
            hint="Submit another study for them, or narrow the space of this one.",
        )


def _add(uow: UnitOfWork, study_id: int, params: Configuration) -> Trial:
    study = studies.by_id(uow.connection, study_id)
    known = number_with(uow, study, params)
    if known is not None:
        raise DuplicateConfiguration(f"trial {known} of study {study.name!r} has this configuration already.")
    trial = create_by_hand(uow, study, params)
    if trial is None:
        hint = f"Raise it: `tunefleet edit {study.name} --trials {study.n_configurations + 1}`."
        raise BudgetTaken(f"the budget of study {study.name!r} has no trial left.", hint=hint)
    return trial
