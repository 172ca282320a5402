"""Conversion of stored values to the messages that users read."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import cast

from tunefleet.protocol import (
    ConfigurationView,
    FoldView,
    PreflightReport,
    SegmentView,
    SpaceEdit,
    StudyDetail,
    StudyState,
    StudyView,
    TrialState,
    TrialView,
)
from tunefleet.study.folds import configuration_of, fold_of, standard_error_of, state_of
from tunefleet.study.space import describe
from tunefleet.study.states import FINISHED
from tunefleet_master.services.execution.curves import values_of
from tunefleet_master.services.execution.eligibility import Fleet
from tunefleet_master.services.planning import histories
from tunefleet_master.storage import folds, studies, trials
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial


def trial_view(trial: Trial, study: Study) -> TrialView:
    """Return a trial of the study as a message."""
    values = values_of(study.spec, trial)
    return TrialView(
        id=trial.id,
        study=trial.study,
        number=trial.number,
        fold=fold_of(study.spec, trial.number),
        state=trial.state,
        attempt=trial.attempt,
        params=trial.params,
        seed=trial.seed,
        value=trial.value,
        values=values,
        broken_outcomes=() if values is None else study.spec.broken_outcomes(trial.metrics),
        best_step=trial.best_step,
        last_step=trial.last_step,
        metrics=dict(trial.metrics),
        failure=trial.failure,
        message=trial.message or trial.stop_message,
        worker=trial.worker,
        origin=trial.origin,
        version=trial.version,
        member=trial.member,
        parent=trial.parent,
        until=trial.until,
        created_at=trial.created_at,
        started_at=trial.started_at,
        finished_at=trial.finished_at,
    )


def segment_view(trial: Trial, *, first_step: int) -> SegmentView:
    """Return a trial of a population as a segment of a lineage."""
    return SegmentView(
        id=trial.id,
        number=trial.number,
        member=trial.member or 0,
        params=trial.params,
        first_step=first_step,
        last_step=trial.last_step,
        state=trial.state,
        value=trial.value,
    )


def study_views(uow: UnitOfWork, chosen: Sequence[Study]) -> list[StudyView]:
    """Return studies with the counts of their trials and their best trials."""
    counts = studies.counts(uow.connection, [study.id for study in chosen])
    fleet = Fleet(uow)
    return [_study_view(uow, study, counts[study.id], fleet=fleet) for study in chosen]


def study_detail(uow: UnitOfWork, study: Study) -> StudyDetail:
    """Return a study with its spec, its edits and its preflight."""
    counts = studies.counts(uow.connection, [study.id])[study.id]
    view = _study_view(uow, study, counts, fleet=Fleet(uow))
    found = study.preflight_report
    report = None if found is None else PreflightReport.model_validate_json(found)
    return StudyDetail(**dict(view), spec=study.spec, edits=_edits(uow, study), preflight_report=report)


def _edits(uow: UnitOfWork, study: Study) -> list[SpaceEdit]:
    spaces = [spec.space for spec in histories.versions(uow.connection, study)]
    steps = zip(histories.edits(uow.connection, study), spaces[:-1], spaces[1:], strict=True)
    return [
        SpaceEdit(
            version=version,
            at=event.at,
            changed={
                name: (describe(before[name]), describe(after[name])) for name in after if before[name] != after[name]
            },
            stage=cast("int | None", event.data.get("stage")),
            evidence=cast("list[str]", event.data.get("evidence", [])),
        )
        for version, (event, before, after) in enumerate(steps, start=2)
    ]


def _study_view(uow: UnitOfWork, study: Study, counts: dict[TrialState, int], *, fleet: Fleet) -> StudyView:
    best = None if study.spec.several_objectives else _best(uow, study)
    return StudyView(
        name=study.name,
        state=study.state,
        message=_message(study, counts),
        goal=study.spec.objective.goal,
        metric=study.spec.objective.metric,
        objectives=study.spec.several_objectives,
        sampler=study.sampler,
        sampler_reason=study.sampler_reason,
        trials=counts,
        folds=study.folds,
        budget=study.budget,
        priority=study.priority,
        best=best,
        created_at=study.created_at,
        finished_at=study.finished_at,
        elapsed_s=study.elapsed_s(uow.now),
        preflight=study.preflight,
        unclaimed=fleet.why_unclaimed(study, counts),
    )


def _best(uow: UnitOfWork, study: Study) -> TrialView | None:
    """Return the best trial; with folds, the first fold of the best configuration, with the mean as its value."""
    if study.folds == 1:
        best = trials.best(uow.connection, study)
        return None if best is None else trial_view(best, study)
    of_folds = folds.best(uow.connection, study)
    if not of_folds:
        return None
    configuration = configuration_view(of_folds, study)
    changes = {"fold": None, "value": configuration.value, "standard_error": configuration.standard_error}
    return trial_view(of_folds[0], study).model_copy(update=changes)


def configuration_view(of_folds: Sequence[Trial], study: Study) -> ConfigurationView:
    """Return a configuration of a study with folds, from the trials of its folds."""
    values = [trial.value for trial in of_folds if trial.state is TrialState.COMPLETE and trial.value is not None]
    return ConfigurationView(
        number=configuration_of(study.spec, of_folds[0].number),
        state=state_of([trial.state for trial in of_folds]),
        params=of_folds[0].params,
        value=fmean(values) if values else None,
        standard_error=standard_error_of(values),
        message=next((it.message for it in of_folds if it.message and it.state in FINISHED), ""),
        folds=[
            FoldView(
                id=trial.id,
                number=trial.number,
                fold=trial.number % study.folds,
                state=trial.state,
                value=trial.value,
                worker=trial.worker,
            )
            for trial in of_folds
        ],
    )


def _message(study: Study, counts: dict[TrialState, int]) -> str:
    """Return why the study is in its state; for a complete study also how many trials failed."""
    failed, total = counts.get(TrialState.FAILED, 0), sum(counts.values())
    if study.state is not StudyState.COMPLETE or not failed:
        return study.message
    return f"{study.message}; {f'all {total}' if failed == total else f'{failed} of {total}'} trials failed"
