"""Claims of trials, and the leases that answer them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from tunefleet.model import Model
from tunefleet.names import MetricName, Name, TrialId
from tunefleet.plain import PlainText
from tunefleet.protocol.artifacts import ArtifactRef
from tunefleet.protocol.preflight import PreflightOrder
from tunefleet.protocol.wire import MAX_WAIT_S, AttemptNumber
from tunefleet.protocol.workers import WorkerFacts
from tunefleet.study.objective import Objective
from tunefleet.study.space import Configuration
from tunefleet.study.spec import DataSpec, Run


class ClaimRequest(Model):
    """Ask for up to `slots` trials, and wait up to `wait_s` for the first one."""

    worker: Name
    slots: int = Field(default=1, ge=1, le=256)
    wait_s: float = Field(default=0, ge=0, le=MAX_WAIT_S)
    request_id: Annotated[PlainText, StringConstraints(min_length=1, max_length=100)] | None = None
    """The same id gives the same leases again, when an answer was lost on its way."""
    study: Name | None = None
    """Only trials of this study; None: of any study whose resources the worker has."""
    facts: WorkerFacts = WorkerFacts()


class Lease(Model):
    """One trial to run, and everything that is needed to run it."""

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
    """Which of the study's folds the trial is validated on, from 0; None where it has none."""
    objective: Objective
    """Of several, the first."""
    result_metrics: tuple[MetricName, ...] = ()
    """With several objectives: what a report must have all of to be the trial's result; the last one that has is it."""
    trial_timeout_s: float | None
    resume: ArtifactRef | None
    """The last checkpoint of an earlier attempt, or of the trial that this one goes on from."""
    resume_from: TrialId | None = None
    """The trial whose file `resume` is; None: its own."""
    until: int | None = None
    """The trial ends behind so many steps, and leaves a checkpoint that others go on from; None: behind all `steps`."""
    preflight: PreflightOrder | None = None
    """The lease is on the study's preflight and no trial of it: check this instead of training, and complete with a
    report. Only a worker whose facts say that it can gets one.
    """
    token: str | None = None
    """Good for this trial and this attempt only; None when the master asks nobody for a token."""


class ClaimResponse(Model):
    """The leases; an empty list when nothing came up within the wait."""

    leases: list[Lease]
    lease_s: float
    heartbeat_s: float
