"""The states of studies and trials, and the reasons for them."""

from __future__ import annotations

from enum import StrEnum


class StudyState(StrEnum):
    """The state of a study."""

    RUNNING = "running"
    PAUSED = "paused"
    BLOCKED = "blocked"
    """Its preflight found that its pipeline cannot learn. No budget is spent until a user overrules it."""
    COMPLETE = "complete"
    STOPPED = "stopped"


class PreflightState(StrEnum):
    """The state of a study's preflight."""

    PENDING = "pending"
    """It waits for a worker, or runs. No worker gets a trial before it has passed."""
    PASSED = "passed"
    BLOCKED = "blocked"
    OVERRULED = "overruled"
    """A user let the study run without it."""


class TrialState(StrEnum):
    """The state of a trial; `tunefleet_master.lifecycle` has the table of transitions."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = (TrialState.RUNNING, TrialState.WAITING)
"""Trials that run, or wait for a worker."""

FINISHED = frozenset({TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.CANCELLED})
"""Trials that do not run again unless a user retries them."""

UNFINISHED = frozenset(TrialState) - FINISHED
"""Trials that are live or paused."""

DONE = FINISHED - {TrialState.CANCELLED}
"""Finished trials that were not cancelled."""

STUDY_ACTIVE = frozenset({StudyState.RUNNING, StudyState.PAUSED})
"""Studies that are neither blocked nor over."""

STUDY_OVER = frozenset({StudyState.COMPLETE, StudyState.STOPPED})
"""Studies that run no further trials unless a user raises the budget or retries trials."""


class Failure(StrEnum):
    """The reason that an attempt failed."""

    LOST = "lost"
    PREEMPTED = "preempted"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    ERROR = "error"
    TIMEOUT = "timeout"
    INFEASIBLE = "infeasible"


class StopReason(StrEnum):
    """The reason that the master tells a running trial to stop."""

    PRUNED = "pruned"
    PAUSED = "paused"
    """It saves a checkpoint, and continues from there if it is among the best later."""
    DIVERGED = "diverged"
    CANCELLED = "cancelled"
