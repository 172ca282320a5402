"""Reading trials, adding them by hand, and running failed ones again."""

from __future__ import annotations

from tunefleet.errors import BudgetTaken, Conflict, DuplicateConfiguration
from tunefleet.names import TrialId
from tunefleet.protocol import (
    ConfigurationView,
    EnqueueRequest,
    Page,
    RetryRequest,
    RetryResponse,
    SegmentView,
    StudyState,
    TrialDetail,
    TrialState,
    TrialView,
)
from tunefleet.study.folds import configuration_of
from tunefleet.study.space import Configuration
from tunefleet_master.search.registry import populations
from tunefleet_master.services.execution.transitions import announce, change_study
from tunefleet_master.services.planning.creation import create_by_hand, number_with
from tunefleet_master.services.reading.views import configuration_view, segment_view, trial_view
from tunefleet_master.storage import artifacts, attempts, folds, reports, segments, studies, trial_pages
from tunefleet_master.storage import trials as stored
from tunefleet_master.storage.subscriptions import CLAIMS
from tunefleet_master.storage.trial_pages import TrialQuery, offset_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial


def enqueue(uow: UnitOfWork, name: str, request: EnqueueRequest) -> list[TrialView]:
    """Add configurations by hand, all or none of them.

    Raises:
        NotFound, Conflict: the study was stopped, or trains a population.
        InvalidInput: not a configuration of the space.
        DuplicateConfiguration: a trial has it. BudgetTaken: the budget has no trial left.
    """
    study_id = studies.get(uow.connection, name).id
    study = _open(studies.lock(uow.connection, study_id), "take trials")
    _refuse_population(study)
    added = [_add(uow, study_id, study.spec.search_space.check(params)) for params in request.params]
    if study.state is StudyState.COMPLETE:
        change_study(uow, study, StudyState.RUNNING)
    uow.notify_after_commit(CLAIMS)
    return [trial_view(trial, study) for trial in added]


def page(uow: UnitOfWork, name: str, query: TrialQuery) -> Page[TrialView]:
    """A page of a study's trials; raises NotFound, InvalidInput."""
    study = studies.get(uow.connection, name)
    found, more, total = trial_pages.page(uow.connection, study, query)
    return Page[TrialView](items=[trial_view(trial, study) for trial in found], next=more, total=total)


def configurations(uow: UnitOfWork, name: str, *, cursor: str | None, limit: int) -> Page[ConfigurationView]:
    """A page of the configurations of a study with folds, the complete ones with the best means first.

    Raises:
        NotFound, InvalidInput. Conflict: the study has no folds.
    """
    study = studies.get(uow.connection, name)
    if study.folds == 1:
        raise Conflict(
            f"study {name!r} has no folds.", hint=f"Each of its trials is a configuration: `tunefleet trials {name}`."
        )
    offset = offset_of(TrialQuery(cursor=cursor, limit=limit))
    found, total = folds.page(uow.connection, study, offset=offset, limit=limit)
    end = offset + len(found)
    items = [configuration_view(of_folds, study) for of_folds in found]
    return Page[ConfigurationView](items=items, next=str(end) if end < total else None, total=total)


def read(uow: UnitOfWork, trial_id: TrialId, *, max_points: int = 1_000) -> TrialDetail:
    """A trial with its curve, attempts and files; raises NotFound."""
    trial = stored.get(uow.connection, trial_id)
    return _detail(uow, trial, studies.by_id(uow.connection, trial.study_id), max_points=max_points)


def by_number(uow: UnitOfWork, name: str, number: int, *, max_points: int = 1_000) -> TrialDetail:
    """The same by the study's name and the trial's number; raises NotFound."""
    study = studies.get(uow.connection, name)
    return _detail(uow, stored.by_number(uow.connection, study, number), study, max_points=max_points)


def retry(uow: UnitOfWork, name: str, request: RetryRequest) -> RetryResponse:
    """Let failed trials run again; raises NotFound, or Conflict when the study was stopped."""
    study = _open(studies.get(uow.connection, name), "run trials again")
    if study.sampler in populations():  # its members may go on from what is run again, and so must not meanwhile
        study = studies.lock(uow.connection, study.id)
        studies.set_position(uow.connection, study.id, position=study.position, exhausted=False)
    numbers = stored.retry(uow.connection, study.id, request.failures, now=uow.now)
    for number in numbers:
        announce(uow, study, stored.by_number(uow.connection, study, number), state=TrialState.WAITING)
    if numbers and study.state is StudyState.COMPLETE:
        change_study(uow, study, StudyState.RUNNING)
    uow.notify_after_commit(CLAIMS)
    return RetryResponse(numbers=numbers)


def _open(study: Study, purpose: str) -> Study:
    if study.state is StudyState.STOPPED:
        raise Conflict(
            f"study {study.name!r} was stopped and cannot {purpose}.",
            hint="Submit it under another name.",
        )
    return study


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


def _detail(uow: UnitOfWork, trial: Trial, study: Study, *, max_points: int) -> TrialDetail:
    return TrialDetail(
        **dict(trial_view(trial, study)),
        curve=list(reports.curve(uow.connection, trial.id, max_points=max_points)),
        attempts=attempts.of_trial(uow.connection, trial.id),
        artifacts=artifacts.of_trials(uow.connection, [trial.id])[trial.id],
        configuration=_configuration(uow, trial, study),
        lineage=_lineage(uow, trial),
    )


def _configuration(uow: UnitOfWork, trial: Trial, study: Study) -> ConfigurationView | None:
    """With all its folds; None where the study has none."""
    if study.folds == 1 or trial.is_preflight:
        return None
    number = configuration_of(study.spec, trial.number)
    return configuration_view(folds.of_configurations(uow.connection, study, [number])[number], study)


def _lineage(uow: UnitOfWork, trial: Trial) -> list[SegmentView]:
    """The schedule of parameters that led to a trial, which it has been trained by; empty outside a population."""
    first_step, found = 0, []
    for each in segments.lineage(uow.connection, trial) if trial.member is not None else ():
        found.append(segment_view(each, first_step=first_step))
        first_step = each.until or 0
    return found
