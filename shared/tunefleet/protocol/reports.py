"""Reports of running trials, and the directives that answer them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunefleet.model import Model
from tunefleet.protocol.fields import MAX_BATCH, MAX_STEP, AttemptNumber, Metrics, Step
from tunefleet.study.states import StopReason


class Report(Model):
    """Metrics at a step.

    A report replaces an earlier one of the same step if its `number` is higher; otherwise it changes nothing.
    """

    step: Step
    metrics: Metrics
    number: int = Field(default=0, ge=0, le=MAX_STEP)


class ReportBatch(Model):
    """Reports of one attempt, oldest first."""

    attempt: AttemptNumber
    reports: list[Report] = Field(min_length=1, max_length=MAX_BATCH)


class Directive(Model):
    """The next action of the trial. To pause, it saves a checkpoint and ends its attempt as if it were stopped."""

    directive: Literal["continue", "stop", "pause"]
    reason: StopReason | None = None
    message: str = ""
