"""Trials as users read them."""

from __future__ import annotations

from collections.abc import Sequence

from tunefleet.errors import Conflict
from tunefleet.names import TrialId
from tunefleet.protocol import ConfigurationView, Page, SegmentView, TrialDetail, TrialView
from tunefleet.study.folds import configuration_of
from tunefleet_master.services.reading.views import configuration_view, segment_view, trial_view
from tunefleet_master.storage import artifacts, attempts, folds, reports, segments, studies, trial_pages
from tunefleet_master.storage import trials as stored
from tunefleet_master.storage.trial_pages import TrialQuery, offset_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial


def page(uow: UnitOfWork, name: str, query: TrialQuery) -> Page[TrialView]:
    """Return a page of a study's trials; raises NotFound, InvalidInput."""
    study = studies.get(uow.connection, name)
    found, more, total = trial_pages.page(uow.connection, study, query)
    return Page[TrialView](items=[trial_view(trial, study) for trial in found], next=more, total=total)


def configurations(uow: UnitOfWork, name: str, *, cursor: str | None, limit: int) -> Page[ConfigurationView]:
    """Return a page of the configurations of a study with folds: complete ones first, by their mean, best first.

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
    """Return a trial with its curve, attempts and files; raises NotFound."""
    trial = stored.get(uow.connection, trial_id)
    return _detail(uow, trial, studies.by_id(uow.connection, trial.study_id), max_points=max_points)


def by_number(uow: UnitOfWork, name: str, number: int, *, max_points: int = 1_000) -> TrialDetail:
    """Return a trial by its study's name and its number; raises NotFound."""
    study = studies.get(uow.connection, name)
    return _detail(uow, stored.by_number(uow.connection, study, number), study, max_points=max_points)


def views(uow: UnitOfWork, found: Sequence[Trial]) -> list[TrialView]:
    """Return stored trials as views, in their order."""
    of_trials = studies.by_ids(uow.connection, {trial.study_id for trial in found})
    return [trial_view(trial, of_trials[trial.study_id]) for trial in found]


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
    """Return the trial's configuration with all of its folds; None where the study has no folds."""
    if study.folds == 1 or trial.is_preflight:
        return None
    number = configuration_of(study.spec, trial.number)
    return configuration_view(folds.of_configurations(uow.connection, study, [number])[number], study)


def _lineage(uow: UnitOfWork, trial: Trial) -> list[SegmentView]:
    """Return the segments whose training a trial continues, oldest first; empty outside a population."""
    first_step, found = 0, []
    for each in segments.lineage(uow.connection, trial) if trial.member is not None else ():
        found.append(segment_view(each, first_step=first_step))
        first_step = each.until or 0
    return found
