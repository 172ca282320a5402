"""Submitting, reading and steering studies."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from tunefleet.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    Problem,
    StudyExists,
)
from tunefleet.protocol import Page, StudyDetail, StudyPatch, StudyState, StudyView
from tunefleet.rules.code import wire_problems
from tunefleet.rules.review import review
from tunefleet.study.recipes import starts
from tunefleet.study.spec import Budget, StudySpec
from tunefleet.study.states import STUDY_ACTIVE
from tunefleet_master.search import registry
from tunefleet_master.services.execution import preflight, retention
from tunefleet_master.services.execution.transitions import change_study, complete_if_done
from tunefleet_master.services.planning import warm_start
from tunefleet_master.services.planning.creation import create_first
from tunefleet_master.services.planning.editing import edit_space
from tunefleet_master.services.reading.views import study_detail, study_views
from tunefleet_master.storage import artifacts, trials
from tunefleet_master.storage import studies as stored
from tunefleet_master.storage.subscriptions import PLANNER, events_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, canonical

MAX_PAGE = 1_000


def submit(uow: UnitOfWork, spec: StudySpec) -> tuple[StudyDetail, bool]:
    """Store a new study, running; the same spec again gives the study that stands, and False.

    Raises:
        InvalidInput: the spec cannot be run; NotAvailableYet: this version cannot run it.
        StudyExists: another spec stands under the name.
        NotFound: its code bundle was not uploaded.
    """
    found = stored.find(uow.connection, spec.name)
    if found is not None:
        if canonical(found.spec) == canonical(spec):
            return study_detail(uow, found), False
        hint = "Choose another name, or remove the old study with `tunefleet rm`."
        raise StudyExists(f"another study named {spec.name!r} stands here.", hint=hint)
    _check(uow, spec)
    priors = warm_start.priors(uow, spec)
    selection = registry.select(spec)
    study = stored.add(
        uow.connection,
        spec,
        sampler=selection.sampler,
        reason=selection.reason,
        now=uow.now,
    )
    uow.record(study.id, "study.running", trial=None, data={})
    if spec.preflight is not None:
        preflight.begin(uow, study)
    first = [(start.params, f"{trials.RECIPE} {start.recipe}") for start in starts(spec)]
    first += [(params, trials.WARM_START) for params in warm_start.begin(uow, study, priors)]
    create_first(uow, study, first)
    uow.notify_after_commit(PLANNER)
    return study_detail(uow, study), True


def page(uow: UnitOfWork, *, cursor: str | None, limit: int) -> Page[StudyView]:
    """Studies, newest first."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput([Problem("limit", f"must be from 1 to {MAX_PAGE}", str(limit))])
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise InvalidInput([Problem("cursor", "is not one that a page gave", cursor[:40])])
    found = stored.page(uow.connection, before_id=None if cursor is None else int(cursor), limit=limit)
    more = str(found[-1].id) if len(found) == limit else None
    return Page[StudyView](items=study_views(uow, found), next=more, total=stored.count(uow.connection))


def read(uow: UnitOfWork, name: str) -> StudyDetail:
    """A study with its spec; raises NotFound."""
    return study_detail(uow, stored.get(uow.connection, name))


def patch(uow: UnitOfWork, name: str, change: StudyPatch) -> StudyDetail:
    """Pause, resume or stop a study, or change its budget, its priority or its space.

    Raises:
        NotFound, IllegalTransition, InvalidInput: the new budget is below the trials that exist, or the space cannot be
        like this. Conflict: the study was stopped, or trials run outside the new space.
    """
    study = stored.get(uow.connection, name)
    if change.anyway and change.state != "running":
        raise InvalidInput([Problem("anyway", "goes with state: running, and lets a study run without its preflight")])
    if change.space is not None:
        study = _edit_space(uow, study, change.space)
    if change.budget is not None or change.priority is not None:
        study = _edit(uow, study, change)
    if change.state == "stopped":
        study = _stop(uow, study)
    elif change.state is not None:
        if change.state == "running":
            study = preflight.resume(uow, study, anyway=change.anyway)
        study = change_study(uow, study, StudyState(change.state))
    study = complete_if_done(uow, study)
    uow.notify_after_commit(PLANNER)
    return study_detail(uow, study)


def delete(uow: UnitOfWork, name: str) -> None:
    """Remove a study with its trials, reports and files; raises NotFound, or Conflict while trials run."""
    study = stored.get(uow.connection, name)
    if study.state in STUDY_ACTIVE:
        raise Conflict(
            f"study {name!r} is {study.state}.",
            hint=f"Stop it first: `tunefleet stop {name}`.",
        )
    uow.notify_after_commit(events_of(name))
    stored.remove(uow.connection, study.id)


def _check(uow: UnitOfWork, spec: StudySpec) -> None:
    review(spec).refuse()
    problems = [*wire_problems(spec), *registry.sampler_problems(spec)]
    if problems:
        raise InvalidInput(problems)
    if spec.bundle is not None and not artifacts.has_blob(uow.connection, spec.bundle):
        hint = "PUT the bundle to /api/v1/bundles/{sha256} first; `tunefleet submit` does."
        raise NotFound(f"the code bundle {spec.bundle[:12]}… was not uploaded.", hint=hint)


def _edit(uow: UnitOfWork, study: Study, change: StudyPatch) -> Study:
    _refuse_stopped(study)
    budget = change.budget
    if budget is not None and budget.trials is not None and budget.trials < study.n_configurations:
        what = "trials" if study.folds == 1 else "configurations"
        rule = f"is below the {study.n_configurations} {what} that the study has"
        raise InvalidInput([Problem("budget.trials", rule, str(budget.trials))])
    stored.change(uow.connection, study.id, budget=budget, priority=change.priority)
    study = stored.by_id(uow.connection, study.id)
    if study.state is StudyState.COMPLETE and _may_go_on(uow, study, budget):
        study = change_study(uow, study, StudyState.RUNNING)
    return study


def _edit_space(uow: UnitOfWork, study: Study, changes: Mapping[str, JsonValue]) -> Study:
    _refuse_stopped(study)
    study = edit_space(uow, study, changes)
    if study.state is StudyState.COMPLETE and _may_go_on(uow, study, study.budget):
        study = change_study(uow, study, StudyState.RUNNING)
    return study


def _refuse_stopped(study: Study) -> None:
    if study.state is StudyState.STOPPED:
        raise Conflict(f"study {study.name!r} was stopped.", hint="Submit it again under another name.")


def _may_go_on(uow: UnitOfWork, study: Study, budget: Budget | None) -> bool:
    """Whether a finished study that was given this budget has something to do again."""
    in_time = study.budget.hours is None or study.elapsed_s(uow.now) < study.budget.hours * 3600
    return budget is not None and in_time and study.trials_left != 0 and not study.exhausted


def _stop(uow: UnitOfWork, study: Study) -> Study:
    if study.state is StudyState.STOPPED:
        return study
    message = "the study was stopped"
    stopped = change_study(uow, study, StudyState.STOPPED, message=message)
    trials.cancel_study(uow.connection, study.id, message=message, now=uow.now)
    if study.sampler in registry.populations():
        retention.drop_checkpoints(uow, stopped)
    return stopped
