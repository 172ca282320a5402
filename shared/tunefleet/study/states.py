"""What studies and trials can be, and why; parts of many messages."""

from __future__ import annotations

from enum import StrEnum


class StudyState(StrEnum):
    """What a study does now."""

    RUNNING = "running"
    PAUSED = "paused"
    BLOCKED = "blocked"
    """Its preflight found that its pipeline cannot learn; the budget is not spent until somebody says so."""
    COMPLETE = "complete"
    STOPPED = "stopped"


class PreflightState(StrEnum):
    """What has become of a study's preflight."""

    PENDING = "pending"
    """It waits for a worker, or runs; no trial is given out before it has passed."""
    PASSED = "passed"
    BLOCKED = "blocked"
    OVERRULED = "overruled"
    """Somebody let the study run without it."""


class TrialState(StrEnum):
    """What a trial does now; see `tunefleet_master.lifecycle` for the arrows."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Failure(StrEnum):
    """Why an attempt failed."""

    LOST = "lost"
    PREEMPTED = "preempted"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    ERROR = "error"
    TIMEOUT = "timeout"
    INFEASIBLE = "infeasible"


class StopReason(StrEnum):
    """Why the master tells a running trial to stop."""

    PRUNED = "pruned"
    PAUSED = "paused"
    """It is saved, and goes on from there when it is among the best."""
    DIVERGED = "diverged"
    CANCELLED = "cancelled"
