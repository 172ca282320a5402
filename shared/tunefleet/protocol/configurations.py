"""What the folds of a configuration say of it: messages."""

from __future__ import annotations

from tunefleet.model import Model
from tunefleet.names import TrialId
from tunefleet.study.space import Configuration
from tunefleet.study.states import TrialState


class FoldView(Model):
    """A configuration's training on one fold."""

    id: TrialId
    """Of its trial."""
    number: int
    """Of its trial."""
    fold: int
    state: TrialState
    value: float | None
    worker: str | None


class ConfigurationView(Model):
    """A configuration of a study with folds, each of which is a trial."""

    number: int
    """Counts configurations from 0."""
    state: TrialState
    """It runs until its last fold has ended. It is complete when all are; else it failed, or was pruned, as one did."""
    params: Configuration
    value: float | None
    """The mean over the folds that are complete; it is the result when all are."""
    standard_error: float | None
    """Of this mean; None for fewer than two folds."""
    message: str
    """Why it got no further folds."""
    folds: list[FoldView]
