"""What one of several trainings that went on from each other says of itself: a message."""

from __future__ import annotations

from tunefleet.model import Model
from tunefleet.names import TrialId
from tunefleet.study.space import Configuration
from tunefleet.study.states import TrialState


class SegmentView(Model):
    """A part of a training in which several trials went on from each other's checkpoints."""

    id: TrialId
    number: int
    member: int
    """Of the population, whose training it is; another one than its parent's where it took the other's checkpoint."""
    params: Configuration
    first_step: int
    last_step: int | None
    """The last that was reported."""
    state: TrialState
    value: float | None
