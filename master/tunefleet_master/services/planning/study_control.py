"""Control of studies by their users: pause, resume, stop, change, delete."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from tunefleet.errors import Conflict, InvalidInput, Problem
from tunefleet.protocol import StudyPatch, StudyState
from tunefleet.study.spec import Budget
from tunefleet_master.search import registry
from tunefleet_master.services.execution import preflight, retention
from tunefleet_master.services.execution.transitions import change_study, complete_if_done, out_of_time
from tunefleet_master.services.planning.editing import edit_space
from tunefleet_master.storage import studies, trials
from tunefleet_master.storage.subscriptions import PLANNER, events_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study


def change(uow: UnitOfWork, name: str, patch: StudyPatch) -> Study:
    """Pause, resume or stop a study, or change its budget, priority or space; return the changed study.

    Raises:
        NotFound, IllegalTransition.
        InvalidInput: the new budget is below the number of existing trials, or the new space is invalid.
        Conflict: the study was stopped, or trials run outside the new space.
    """
    study = studies.get(uow.connection, name)
    if patch.anyway and patch.state != "running":
        raise InvalidInput([Problem("anyway", "goes with state: running, and lets a study run without its preflight")])
    if patch.space is not None:
        study = _edit_space(uow, study, patch.space)
    if patch.budget is not None or patch.priority is not None:
        study = _change_budget_and_priority(uow, study, patch)
    if patch.state == "stopped":
        study = _stop(uow, study)
    elif patch.state is not None:
        if patch.state == "running":
            study = preflight.resume(uow, study, anyway=patch.anyway)
        study = change_study(uow, study, StudyState(patch.state))
    study = complete_if_done(uow, study)
    uow.notify_after_commit(PLANNER)
    return study


def delete(uow: UnitOfWork, name: str) -> None:
    """Delete a study with its trials, reports and files; raises NotFound, or Conflict before the study has ended."""
    study = studies.get(uow.connection, name)
    if study.state in (StudyState.RUNNING, StudyState.PAUSED):
        raise Conflict(f"study {name!r} is {study.state}.", hint=f"Stop it first: `tunefleet stop {name}`.")
    uow.notify_after_commit(events_of(name))
    studies.remove(uow.connection, study.id)


def _change_budget_and_priority(uow: UnitOfWork, study: Study, patch: StudyPatch) -> Study:
    _refuse_stopped(study)
    budget = patch.budget
    if budget is not None and budget.trials is not None and budget.trials < study.n_configurations:
        what = "trials" if study.folds == 1 else "configurations"
        rule = f"is below the {study.n_configurations} {what} that the study has"
        raise InvalidInput([Problem("budget.trials", rule, str(budget.trials))])
    studies.change(uow.connection, study.id, budget=budget, priority=patch.priority)
    return _reopen(uow, studies.by_id(uow.connection, study.id), budget)


def _edit_space(uow: UnitOfWork, study: Study, changes: Mapping[str, JsonValue]) -> Study:
    _refuse_stopped(study)
    study = edit_space(uow, study, changes)
    return _reopen(uow, study, study.budget)


def _refuse_stopped(study: Study) -> None:
    if study.state is StudyState.STOPPED:
        raise Conflict(f"study {study.name!r} was stopped.", hint="Submit it again under another name.")


def _reopen(uow: UnitOfWork, study: Study, budget: Budget | None) -> Study:
    """Let a complete study run again if it got this budget and something is left to do."""
    has_work = study.trials_left != 0 and not study.exhausted and not out_of_time(uow, study)
    if study.state is StudyState.COMPLETE and budget is not None and has_work:
        return change_study(uow, study, StudyState.RUNNING)
    return study


def _stop(uow: UnitOfWork, study: Study) -> Study:
    if study.state is StudyState.STOPPED:
        return study
    message = "the study was stopped"
    stopped = change_study(uow, study, StudyState.STOPPED, message=message)
    trials.cancel_study(uow.connection, study.id, message=message, now=uow.now)
    if study.sampler in registry.populations():
        retention.drop_checkpoints(uow, stopped)
    return stopped
