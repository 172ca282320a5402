"""Transitions of trials and studies, with their events and their consequences for the study."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

from pydantic import JsonValue

from tunefleet.errors import IllegalTransition, LeaseLost
from tunefleet.logs import about
from tunefleet.protocol import Failure, PreflightReport, PreflightState, StudyState, TrialState
from tunefleet.study.space import Configuration
from tunefleet.study.states import STUDY_ACTIVE
from tunefleet_master.lifecycle import (
    SAME_EXCEPTION_LIMIT,
    Verdict,
    check_study_transition,
    end_of_failure,
)
from tunefleet_master.search.segment import Segment
from tunefleet_master.services.execution.curves import values_of
from tunefleet_master.storage import studies, trials
from tunefleet_master.storage.subscriptions import CLAIMS, PLANNER, events_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial

log = logging.getLogger(__name__)


def verdict_of_failure(
    trial: Trial,
    study: Study,
    *,
    failure: Failure,
    message: str,
    exception: str | None = None,
    attempt_open: bool = False,
) -> Verdict:
    """Return the verdict on an attempt that failed, was lost or was released."""
    failures = Counter(trial.failures)
    failures[failure] += 1
    end = end_of_failure(failure, failures=failures, retry=study.spec.retry, stop=trial.stop)
    if end.failure is Failure.LOST and failure is not Failure.LOST:
        message = f"{message} (retry.lost is {study.spec.retry.lost})"
    text = trial.stop_message if trial.stop is not None else message
    return Verdict(end, text, failures, exception, attempt_open=attempt_open)


def end_attempt(
    uow: UnitOfWork,
    trial: Trial,
    study: Study,
    *,
    verdict: Verdict,
    value: float | None = None,
    report: PreflightReport | None = None,
) -> Study:
    """Apply a verdict to a trial that this transaction has locked; return the changed study.

    Args:
        uow: the request's.
        trial: as it was read, with the steps and metrics of its whole curve.
        study: the trial's.
        verdict: on the attempt.
        value: the result; None: there is none.
        report: of a preflight.

    Raises:
        LeaseLost: the trial has changed since it was read.
    """
    if not trials.end(uow.connection, trial, verdict, now=uow.now, value=value):
        raise lease_lost(trial, trial.attempt)
    announce(uow, study, trial, state=verdict.end.state, failure=verdict.end.failure, message=verdict.message)
    if verdict.end.state is TrialState.WAITING:
        uow.notify_after_commit(CLAIMS)
    elif verdict.end.state is TrialState.PAUSED or trial.member is not None or study.folds > 1:
        uow.notify_after_commit(PLANNER)  # other trials, or the next segment or fold, may be due
    if trial.is_preflight:
        return _settle_preflight(uow, study, verdict=verdict, report=report)
    if verdict.exception is not None and study.state is StudyState.RUNNING:
        study = _pause_if_broken(uow, study, verdict)
    return complete_if_done(uow, study)


def announce(
    uow: UnitOfWork,
    study: Study,
    trial: Trial,
    *,
    state: TrialState,
    failure: Failure | None = None,
    message: str = "",
) -> None:
    """Record a trial's new state as an event; that of a preflight belongs to the study, and samplers ignore it."""
    data: dict[str, JsonValue] = {
        **_result_of(study, trial),
        "steps": 0 if trial.last_step is None else trial.last_step + 1,
        "failure": failure,
        "message": message,
        "worker": trial.worker,
        "attempt": trial.attempt,
    }
    if trial.is_preflight:
        uow.record(study.id, f"preflight.{state}", trial=None, data=data)
    else:
        uow.record(study.id, f"trial.{state}", trial=trial.number, data=data)
    uow.notify_after_commit(events_of(study.name))


def _result_of(study: Study, trial: Trial) -> dict[str, JsonValue]:
    """Return the result fields of an event; with several objectives also all values and the broken outcomes."""
    values = values_of(study.spec, trial)
    if values is None:
        return {"value": trial.value}
    return {"value": trial.value, "values": [*values], "broken": [*study.spec.broken_outcomes(trial.metrics)]}


def announce_new(
    uow: UnitOfWork,
    study: Study,
    new: Mapping[int, Configuration],
    *,
    segments: Mapping[int, Segment] | None = None,
) -> None:
    """Record new trials, or new configurations of waiting trials, as events, by their numbers.

    The events contain all that a sampler needs: the configurations, and the places of segments in their population.
    """
    for number, params in new.items():
        data = {
            "params": params,
            "value": None,
            "steps": 0,
            "failure": None,
            "message": "",
            "worker": None,
            "attempt": 0,
        }
        if segments and number in segments:
            data["segment"] = asdict(segments[number])
        uow.record(study.id, f"trial.{TrialState.WAITING}", trial=number, data=data)
    uow.notify_after_commit(events_of(study.name))


def change_study(uow: UnitOfWork, study: Study, new: StudyState, *, message: str = "") -> Study:
    """Change the state of a study that this transaction has read; return the changed study.

    Raises:
        IllegalTransition: there is no such transition, or another request changed the study first.
    """
    if study.state is new:
        return study
    check_study_transition(study.state, new, name=study.name)
    if not studies.change_state(uow.connection, study, new, message=message, now=uow.now):
        raise IllegalTransition(f"study {study.name!r} has just changed.", hint="Read its state and try again.")
    uow.record(study.id, f"study.{new}", trial=None, data={"message": message})
    log.info("study %s is %s%s", study.name, new, message and f": {message}", extra=about(study=study.name))
    for topic in (PLANNER, CLAIMS, events_of(study.name)):
        uow.notify_after_commit(topic)
    return studies.by_id(uow.connection, study.id)


def complete_if_done(uow: UnitOfWork, study: Study) -> Study:
    """Complete a study with a spent budget or an exhausted space, and without unfinished trials; return the study."""
    if not _is_spent(uow, study):
        return study
    # Of two masters that end the last two trials at once, the second one gets the lock later and finds nothing left.
    study = studies.lock(uow.connection, study.id)
    if not _is_spent(uow, study) or studies.has_unfinished(uow.connection, study.id):
        return study
    return change_study(uow, study, StudyState.COMPLETE, message=_why_done(uow, study))


def _is_spent(uow: UnitOfWork, study: Study) -> bool:
    """Return whether the study gets no further trials."""
    if study.state not in STUDY_ACTIVE:
        return False
    return study.trials_left == 0 or study.exhausted or out_of_time(uow, study)


def out_of_time(uow: UnitOfWork, study: Study) -> bool:
    """Return whether the study has used up its hours."""
    return study.budget.hours is not None and study.elapsed_s(uow.now) >= study.budget.hours * 3600


def lease_lost(trial: Trial, attempt: int) -> LeaseLost:
    """Return the error for a write of an attempt that does not hold the trial."""
    if attempt != trial.attempt:
        return LeaseLost(
            f"attempt {attempt} of trial {trial.id} does not hold it: the newest is attempt {trial.attempt}.",
            hint="Drop the work; another worker has the trial.",
        )
    return LeaseLost(
        f"attempt {attempt} of trial {trial.id} is over: the trial is {trial.state}.",
        hint="Drop the work.",
    )


def _settle_preflight(uow: UnitOfWork, study: Study, *, verdict: Verdict, report: PreflightReport | None) -> Study:
    """Start the study after its preflight has passed, or block it after a final failure."""
    state = verdict.end.state
    if state not in (TrialState.COMPLETE, TrialState.FAILED):
        return study
    study = studies.lock(uow.connection, study.id)
    if study.is_checked:  # a user overruled the preflight meanwhile
        return study
    new = PreflightState.PASSED if state is TrialState.COMPLETE else PreflightState.BLOCKED
    text = None if report is None else report.model_dump_json()
    studies.end_preflight(uow.connection, study.id, new, report=text, now=uow.now)
    study = studies.by_id(uow.connection, study.id)
    for topic in (PLANNER, CLAIMS):
        uow.notify_after_commit(topic)
    if new is PreflightState.PASSED or study.state not in STUDY_ACTIVE:
        return study
    why = f"{verdict.end.failure}: {verdict.message}" if report is None else report.finding
    message = (
        f"the preflight failed: {why.rstrip('. ')}. `tunefleet show {study.name}` shows every check. Fix the study and "
        f"submit it under another name, or after `tunefleet rm {study.name}`; to run the preflight again, `tunefleet "
        f"resume {study.name}`; to run the study without it, `tunefleet resume {study.name} --anyway`."
    )
    return change_study(uow, study, StudyState.BLOCKED, message=message)


def _pause_if_broken(uow: UnitOfWork, study: Study, verdict: Verdict) -> Study:
    exception = verdict.exception or ""
    if trials.n_with_exception(uow.connection, study, exception, since=study.started_at) < SAME_EXCEPTION_LIMIT:
        return study
    what = "trials" if study.folds == 1 else "configurations"
    message = (
        f"the same exception in {SAME_EXCEPTION_LIMIT} {what}: {exception}: {verdict.message.rstrip('. ')}. "
        f"If the code is at fault, fix it and submit it under another name, or after `tunefleet rm {study.name}`. "
        f"If not, `tunefleet retry {study.name} --failed` and `tunefleet resume {study.name}`."
    )
    return change_study(uow, study, StudyState.PAUSED, message=message)


def _why_done(uow: UnitOfWork, study: Study) -> str:
    if study.trials_left == 0:
        each = f" of {study.folds} folds each" if study.folds > 1 else ""
        return f"the budget of {study.budget.trials} {'configurations' if each else 'trials'}{each} is spent"
    if out_of_time(uow, study):
        return f"the budget of {study.budget.hours:g} hours is spent"
    return f"the {study.sampler} sampler has no further configuration"
