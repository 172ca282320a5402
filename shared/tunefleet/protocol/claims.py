"""Claims of trials, and the leases that answer them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from tunefleet.model import Model
from tunefleet.names import MetricName, Name, TrialId
from tunefleet.plain import PlainText
from tunefleet.protocol.artifacts import ArtifactRef
from tunefleet.protocol.fields import MAX_WAIT_S, AttemptNumber
from tunefleet.protocol.preflight import PreflightOrder
from tunefleet.protocol.workers import WorkerFacts
from tunefleet.study.objective import Objective
from tunefleet.study.space import Configuration
from tunefleet.study.spec import DataSpec, Run


class ClaimRequest(Model):
    """Claim up to `slots` trials, and wait up to `wait_s` seconds for the first one."""

    worker: Name
    slots: int = Field(default=1, ge=1, le=256)
    wait_s: float = Field(default=0, ge=0, le=MAX_WAIT_S)
    request_id: Annotated[PlainText, StringConstraints(min_length=1, max_length=100)] | None = None
    """A request with the same id returns the same leases, in case the first answer was lost."""
    study: Name | None = None
    """Claim trials of this study only; None: of any study that fits the worker's resources."""
    facts: WorkerFacts = WorkerFacts()


class Lease(Model):
    """A lease on a trial, with everything that is needed to run it."""

    trial_id: TrialId
    attempt: AttemptNumber
    """The fencing token: every later write of this attempt carries it."""
    study: Name
    number: int
    params: Configuration
    seed: int
    steps: int | None
    run: Run
    data: DataSpec
    fold: int | None = None
    """The fold to validate on, from 0; None if the study has no folds."""
    objective: Objective
    """With several objectives, the first."""
    result_metrics: tuple[MetricName, ...] = ()
    """With several objectives: the last report that has all of these metrics is the trial's result."""
    trial_timeout_s: float | None
    resume: ArtifactRef | None
    """The last checkpoint of an earlier attempt, or of the trial that this one continues from."""
    resume_from: TrialId | None = None
    """The trial that owns `resume`; None: this trial."""
    until: int | None = None
    """The trial ends after this many steps and leaves a checkpoint for others; None: it runs all `steps`."""
    preflight: PreflightOrder | None = None
    """The lease is on the study's preflight, not on a trial: run these checks, and complete with a report.
    Only a worker with `facts.preflight` gets such a lease.
    """
    token: str | None = None
    """A token for this trial and attempt only; None if the master requires no tokens."""


class ClaimResponse(Model):
    """The leases; an empty list if no trial became available within the wait."""

    leases: list[Lease]
    lease_s: float
    heartbeat_s: float
