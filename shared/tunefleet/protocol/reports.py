"""Reports of running trials, and the directives that answer them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunefleet.model import Model
from tunefleet.protocol.wire import MAX_BATCH, MAX_STEP, AttemptNumber, Metrics, Step
from tunefleet.study.states import StopReason


class Report(Model):
    """Metrics at a step.

    A higher `number` replaces an earlier report of the same step, the same or a lower one changes nothing.
    """

    step: Step
    metrics: Metrics
    number: int = Field(default=0, ge=0, le=MAX_STEP)


class ReportBatch(Model):
    """Reports of one attempt, oldest first."""

    attempt: AttemptNumber
    reports: list[Report] = Field(min_length=1, max_length=MAX_BATCH)


class Directive(Model):
    """What the trial does next. A trial that pauses saves itself, and ends its attempt as one that stops."""

    directive: Literal["continue", "stop", "pause"]
    reason: StopReason | None = None
    message: str = ""
