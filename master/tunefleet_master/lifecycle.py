"""The state machines of trials and studies, pure: the arrows, and what an end, a failure or an outage leads to.

waiting -> running -> complete | pruned | failed | cancelled
running -> waiting     its lease expired, or its worker gave it back, or it failed and may try again
running -> paused      its pruner lets it wait until it is among the best
paused  -> waiting     it was promoted
paused  -> pruned      no more trials come that could promote it
waiting -> pruned      other folds of its configuration showed that it is worse than the best
waiting, paused -> cancelled   its study was stopped
failed  -> waiting     somebody asked to run it again
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tunefleet.errors import IllegalTransition
from tunefleet.protocol import Failure, StopReason, StudyState, TrialState
from tunefleet.study.spec import Retry

TRANSITIONS: Mapping[TrialState, frozenset[TrialState]] = {
    TrialState.WAITING: frozenset({TrialState.RUNNING, TrialState.PRUNED, TrialState.CANCELLED}),
    TrialState.RUNNING: frozenset(
        {
            TrialState.WAITING,
            TrialState.PAUSED,
            TrialState.COMPLETE,
            TrialState.PRUNED,
            TrialState.FAILED,
            TrialState.CANCELLED,
        }
    ),
    TrialState.PAUSED: frozenset({TrialState.WAITING, TrialState.PRUNED, TrialState.CANCELLED}),
    TrialState.COMPLETE: frozenset(),
    TrialState.PRUNED: frozenset(),
    TrialState.FAILED: frozenset({TrialState.WAITING}),
    TrialState.CANCELLED: frozenset(),
}

STUDY_TRANSITIONS: Mapping[StudyState, frozenset[StudyState]] = {
    StudyState.RUNNING: frozenset(
        {StudyState.PAUSED, StudyState.BLOCKED, StudyState.COMPLETE, StudyState.STOPPED},
    ),
    StudyState.PAUSED: frozenset(
        {StudyState.RUNNING, StudyState.BLOCKED, StudyState.COMPLETE, StudyState.STOPPED},
    ),
    # Its preflight runs once more, or somebody lets it run without.
    StudyState.BLOCKED: frozenset({StudyState.RUNNING, StudyState.STOPPED}),
    # A finished study runs again when its budget is raised or its failed trials are retried.
    StudyState.COMPLETE: frozenset({StudyState.RUNNING, StudyState.STOPPED}),
    StudyState.STOPPED: frozenset(),
}

OWN_CRASHES = frozenset({Failure.ERROR, Failure.OUT_OF_MEMORY, Failure.TIMEOUT})
"""Failures of the trial itself; the others are its worker's or its configuration's."""

WORKER_LOSSES = frozenset({Failure.LOST, Failure.PREEMPTED})

MAX_OWN_CRASHES = 3
"""So many crashes set a trial aside whatever its retry rules say: a fourth would only cost another worker's time."""

SAME_EXCEPTION_LIMIT = 3
"""So many trials with the same exception pause their study.

The code is at fault, and each further trial would fail like them.
"""

_ENDS_BY_STOP: Mapping[StopReason, tuple[TrialState, Failure | None]] = {
    StopReason.PRUNED: (TrialState.PRUNED, None),
    StopReason.PAUSED: (TrialState.PAUSED, None),
    StopReason.DIVERGED: (TrialState.FAILED, Failure.DIVERGED),
    StopReason.CANCELLED: (TrialState.CANCELLED, None),
}


@dataclass(frozen=True, slots=True)
class End:
    """What an attempt's end does to its trial; `waiting` means that another attempt follows."""

    state: TrialState
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an attempt ends: what becomes of the trial, and what to remember of it."""

    end: End
    message: str
    failures: Mapping[Failure, int]
    exception: str | None = None
    attempt_open: bool = False
    """The attempt ended without its worker's word, which is welcome until the trial is claimed again."""


def check_transition(old: TrialState, new: TrialState) -> None:
    """Raise IllegalTransition unless the arrow exists."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"a {old} trial cannot become {new}.")


def check_study_transition(old: StudyState, new: StudyState, *, name: str) -> None:
    """Raise IllegalTransition unless the arrow exists."""
    if new not in STUDY_TRANSITIONS[old]:
        raise IllegalTransition(f"study {name!r} is {old} and cannot become {new}.")


def end_of_completion(stop: StopReason | None) -> End:
    """An attempt that ran to its end, or until it was told to stop."""
    if stop is None:
        return End(TrialState.COMPLETE)
    return End(*_ENDS_BY_STOP[stop])


def end_of_failure(
    failure: Failure,
    *,
    failures: Mapping[Failure, int],
    retry: Retry,
    stop: StopReason | None = None,
) -> End:
    """An attempt that failed, was lost or was given back.

    Args:
        failure: why this attempt ended.
        failures: how often each kind has ended an attempt of this trial, this one included.
        retry: the study's rules.
        stop: the order to stop that the trial was under, if any; what ends under an order ends as ordered.
    """
    if stop is not None:
        return end_of_completion(stop)
    if failure in WORKER_LOSSES:
        losses = sum(failures.get(kind, 0) for kind in WORKER_LOSSES)
        return End(TrialState.WAITING) if losses <= retry.lost else End(TrialState.FAILED, Failure.LOST)
    allowed = {
        Failure.ERROR: retry.error,
        Failure.OUT_OF_MEMORY: retry.out_of_memory,
    }.get(failure, 0)
    crashes = sum(failures.get(kind, 0) for kind in OWN_CRASHES)
    if failures.get(failure, 0) <= allowed and crashes < MAX_OWN_CRASHES:
        return End(TrialState.WAITING)
    return End(TrialState.FAILED, failure)


def outage(last_sweep: datetime | None, now: datetime, *, sweep_s: float) -> timedelta:
    """How long the master was away before `now`; all leases begin anew then, before any expires.

    A gap below three sweeps is an ordinary delay. The worker could not reach a master that was down, stopped or
    overloaded, so that time must not count against its lease. A clock that went backwards counts as no gap.
    """
    if last_sweep is None or now - last_sweep < timedelta(seconds=3 * sweep_s):
        return timedelta(0)
    return now - last_sweep
