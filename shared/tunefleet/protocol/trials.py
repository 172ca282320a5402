"""Trials: what users read, and how they add and retry them."""

from __future__ import annotations

from pydantic import AwareDatetime, Field, JsonValue

from tunefleet.model import Model
from tunefleet.names import Name, ParameterName, TrialId
from tunefleet.plain import Plain
from tunefleet.protocol.artifacts import ArtifactRef
from tunefleet.protocol.fields import MAX_BATCH
from tunefleet.study.space import Configuration
from tunefleet.study.states import Failure, TrialState


class TrialView(Model):
    """A trial as users read it. While the trial runs, `value` is its value so far, in the objective's unit."""

    id: TrialId
    study: Name
    number: int
    state: TrialState
    attempt: int
    params: Configuration
    seed: int
    value: float | None
    """With several objectives, the value of the first."""
    fold: int | None = None
    """The fold that it is validated on, from 0; None if the study has no folds."""
    standard_error: float | None = None
    """The standard error of `value` if that is the mean over a configuration's folds; otherwise None."""
    values: tuple[float, ...] | None = None
    """With several objectives, one value for each, from the last report that has all of them. None before that."""
    broken_outcomes: tuple[str, ...] = ()
    """The study's `outcomes` that it breaks. A trial that breaks any is not on the front."""
    best_step: int | None
    last_step: int | None
    metrics: dict[str, float]
    """The metrics at `best_step`."""
    failure: Failure | None
    message: str
    worker: str | None
    origin: str
    """The sampler that proposed it, or `user`."""
    version: int = 1
    """The version of the study's space that it belongs to."""
    member: int | None = None
    """The member of the population that it trains."""
    parent: int | None = None
    """The number of the trial that it continues from."""
    until: int | None = None
    """It ends after this many steps, including those of its parents; None: after all steps of the study."""
    created_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None


class AttemptView(Model):
    """One execution of a trial; `outcome` is None while it runs."""

    attempt: int
    worker: str
    started_at: AwareDatetime
    ended_at: AwareDatetime | None
    outcome: str | None
    message: str
    log_tail: str


class Point(Model):
    """One step of a learning curve."""

    step: int
    metrics: dict[str, float]


class FoldView(Model):
    """A configuration's training on one fold."""

    id: TrialId
    """The id of the fold's trial."""
    number: int
    """The number of the fold's trial."""
    fold: int
    state: TrialState
    value: float | None
    worker: str | None


class ConfigurationView(Model):
    """A configuration of a study with folds; each fold is a trial."""

    number: int
    """Counts configurations from 0."""
    state: TrialState
    """It runs until its last fold ends. It is complete if all folds are; otherwise it has the state of another fold."""
    params: Configuration
    value: float | None
    """The mean over the complete folds. It is the result once all folds are complete."""
    standard_error: float | None
    """The standard error of the mean; None for fewer than two folds."""
    message: str
    """The reason that no further folds run."""
    folds: list[FoldView]


class SegmentView(Model):
    """One trial in a chain of trials that continue from each other's checkpoints."""

    id: TrialId
    number: int
    member: int
    """The member of the population that it trains. It differs from its parent's if it copied another member."""
    params: Configuration
    first_step: int
    last_step: int | None
    """The last step that it reported."""
    state: TrialState
    value: float | None


class TrialDetail(TrialView):
    """A trial with its curve, its attempts and its files."""

    curve: list[Point]
    """The newest attempt's report for each step; long curves are thinned out."""
    attempts: list[AttemptView]
    artifacts: list[ArtifactRef]
    configuration: ConfigurationView | None = None
    """Its configuration with all folds; None if the study has no folds."""
    lineage: list[SegmentView] = Field(default_factory=list)
    """In a population: the chain of trials that leads to this one, oldest first. Their curves form one curve."""


class EnqueueRequest(Plain):
    """Add configurations to a study. They run before the sampler's proposals and count against the budget."""

    params: list[dict[ParameterName, JsonValue]] = Field(min_length=1, max_length=MAX_BATCH)


class RetryRequest(Model):
    """Run failed trials of a study again: all of them, or only those with one of these failures."""

    failures: list[Failure] | None = None


class RetryResponse(Model):
    """The trials that wait again."""

    numbers: list[int]
