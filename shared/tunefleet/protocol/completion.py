"""The end of an attempt: complete, failed or released."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tunefleet.model import Model
from tunefleet.names import MetricName
from tunefleet.plain import FreeText
from tunefleet.protocol.preflight import PreflightReport
from tunefleet.protocol.wire import AttemptNumber, Text
from tunefleet.study.states import Failure, StudyState, TrialState


class CompleteRequest(Model):
    """The attempt ran to its end, or to the stop that it was told."""

    attempt: AttemptNumber
    metrics: dict[MetricName, float] = Field(default_factory=dict, max_length=200)
    """Final metrics, if they were not reported; they count as one more report at the last step."""
    preflight: PreflightReport | None = None
    """Of a preflight, and of nothing else: what it found."""


class FailRequest(Model):
    """The attempt failed."""

    attempt: AttemptNumber
    failure: Failure = Failure.ERROR
    message: Text = ""
    exception: Annotated[FreeText, StringConstraints(max_length=500)] | None = None
    """The exception's type and place, equal for equal causes: three trials with the same one pause the study."""
    log_tail: Annotated[FreeText, StringConstraints(max_length=20_000)] = ""


class ReleaseRequest(Model):
    """The worker gives the trial back unfinished; another attempt goes on from its checkpoint."""

    attempt: AttemptNumber
    reason: Literal["preempted", "lost"] = "preempted"


class EndResponse(Model):
    """What became of the trial when its attempt ended, and of its study."""

    state: TrialState
    failure: Failure | None = None
    study_state: StudyState
