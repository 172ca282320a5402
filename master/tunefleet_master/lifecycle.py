"""The state machines of trials and studies. Pure.

waiting -> running -> complete | pruned | failed | cancelled
running -> waiting     its lease expired, its worker released it, or it failed and is retried
running -> paused      its pruner pauses it until it is among the best
paused  -> waiting     it was promoted
paused  -> pruned      no further trials can promote it
waiting -> pruned      other folds of its configuration are worse than the best configuration
waiting, paused -> cancelled   its study was stopped
failed  -> waiting     a user retried it
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
    # Its preflight runs again, or a user overrules it.
    StudyState.BLOCKED: frozenset({StudyState.RUNNING, StudyState.STOPPED}),
    # A finished study runs again when its budget is raised or its failed trials are retried.
    StudyState.COMPLETE: frozenset({StudyState.RUNNING, StudyState.STOPPED}),
    StudyState.STOPPED: frozenset(),
}

OWN_CRASHES = frozenset({Failure.ERROR, Failure.OUT_OF_MEMORY, Failure.TIMEOUT})
"""Failures that the trial causes; the worker or the configuration causes the others."""

WORKER_LOSSES = frozenset({Failure.LOST, Failure.PREEMPTED})

MAX_OWN_CRASHES = 3
"""A trial with this many crashes fails, whatever its retry rules allow: another attempt would crash, too."""

SAME_EXCEPTION_LIMIT = 3
"""This many trials with the same exception pause their study: its code is probably at fault."""

_ENDS_BY_STOP: Mapping[StopReason, tuple[TrialState, Failure | None]] = {
    StopReason.PRUNED: (TrialState.PRUNED, None),
    StopReason.PAUSED: (TrialState.PAUSED, None),
    StopReason.DIVERGED: (TrialState.FAILED, Failure.DIVERGED),
    StopReason.CANCELLED: (TrialState.CANCELLED, None),
}


@dataclass(frozen=True, slots=True)
class End:
    """The state of a trial after an attempt; after WAITING, another attempt follows."""

    state: TrialState
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of an attempt: the trial's next state, and the facts to store."""

    end: End
    message: str
    failures: Mapping[Failure, int]
    exception: str | None = None
    attempt_open: bool = False
    """The worker has not reported the end; it still may until the trial is claimed again."""


def check_transition(old: TrialState, new: TrialState) -> None:
    """Raise IllegalTransition unless the transition exists."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"a {old} trial cannot become {new}.")


def check_study_transition(old: StudyState, new: StudyState, *, name: str) -> None:
    """Raise IllegalTransition unless the transition exists."""
    if new not in STUDY_TRANSITIONS[old]:
        raise IllegalTransition(f"study {name!r} is {old} and cannot become {new}.")


def end_of_completion(stop: StopReason | None) -> End:
    """Return the end of an attempt that completed, or that stopped as ordered."""
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
    """Return the end of an attempt that failed, was lost or was released.

    Args:
        failure: of this attempt.
        failures: the number of attempts that ended by each kind of failure, this one included.
        retry: the study's rules.
        stop: the order to stop that the trial has, if any; the attempt then ends as ordered.
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
    """Return how long no master swept before `now`; after an outage all leases are renewed before any expires.

    Workers cannot send heartbeats to a master that is down, so this time must not count against their leases. A gap
    below three sweeps is an ordinary delay. A clock that went backwards counts as no gap.
    """
    if last_sweep is None or now - last_sweep < timedelta(seconds=3 * sweep_s):
        return timedelta(0)
    return now - last_sweep
