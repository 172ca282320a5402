"""The end of an attempt: complete, failed or released."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tunefleet.model import Model
from tunefleet.names import MetricName
from tunefleet.plain import FreeText
from tunefleet.protocol.fields import AttemptNumber, Text
from tunefleet.protocol.preflight import PreflightReport
from tunefleet.study.states import Failure, StudyState, TrialState


class CompleteRequest(Model):
    """The attempt ran to its end, or stopped as ordered."""

    attempt: AttemptNumber
    metrics: dict[MetricName, float] = Field(default_factory=dict, max_length=200)
    """Final metrics that were not reported. They count as one more report at the last step."""
    preflight: PreflightReport | None = None
    """The report of a preflight; None for a trial."""


class FailRequest(Model):
    """The attempt failed."""

    attempt: AttemptNumber
    failure: Failure = Failure.ERROR
    message: Text = ""
    exception: Annotated[FreeText, StringConstraints(max_length=500)] | None = None
    """The exception's type and place, equal for equal causes. Three trials with the same exception pause the study."""
    log_tail: Annotated[FreeText, StringConstraints(max_length=20_000)] = ""


class ReleaseRequest(Model):
    """The worker gives the trial back unfinished. Another attempt continues from its checkpoint."""

    attempt: AttemptNumber
    reason: Literal["preempted", "lost"] = "preempted"


class EndResponse(Model):
    """The states of the trial and of its study after the attempt."""

    state: TrialState
    failure: Failure | None = None
    study_state: StudyState
