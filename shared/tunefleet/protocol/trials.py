"""Trials as users read, add and retry them."""

from __future__ import annotations

from pydantic import AwareDatetime, Field, JsonValue

from tunefleet.model import Model
from tunefleet.names import Name, ParameterName, TrialId
from tunefleet.plain import Plain
from tunefleet.protocol.artifacts import ArtifactRef
from tunefleet.protocol.configurations import ConfigurationView
from tunefleet.protocol.lineage import SegmentView
from tunefleet.protocol.wire import MAX_BATCH
from tunefleet.study.space import Configuration
from tunefleet.study.states import Failure, TrialState


class TrialView(Model):
    """A trial as it is read; `value` is in the objective's unit and may be an interim one while the trial runs."""

    id: TrialId
    study: Name
    number: int
    state: TrialState
    attempt: int
    params: Configuration
    seed: int
    value: float | None
    """With several objectives that of the first."""
    fold: int | None = None
    """Which of the study's folds it is validated on, from 0; None where it has none."""
    standard_error: float | None = None
    """Of a configuration's mean over its folds, where that is the value; None elsewhere."""
    values: tuple[float, ...] | None = None
    """With several objectives one for each, as the last report that has all of them gives them; None without one."""
    broken_outcomes: tuple[str, ...] = ()
    """The study's `outcomes` that are not true of it; with any the trial is not on the front."""
    best_step: int | None
    last_step: int | None
    metrics: dict[str, float]
    """The metrics at `best_step`."""
    failure: Failure | None
    message: str
    worker: str | None
    origin: str
    """Who proposed it: the sampler's name, or `user`."""
    version: int = 1
    """Of the study's space that it belongs to."""
    member: int | None = None
    """Of the population, whose training this is a segment of."""
    parent: int | None = None
    """The trial from whose checkpoint it goes on."""
    until: int | None = None
    """How many steps have been run when it ends, those of its parents included; None: all of the study."""
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


class TrialDetail(TrialView):
    """A trial with its curve, its attempts and its files."""

    curve: list[Point]
    """The newest attempt's report for each step; long curves are thinned out."""
    attempts: list[AttemptView]
    artifacts: list[ArtifactRef]
    configuration: ConfigurationView | None = None
    """With all folds of the configuration, where the study has folds."""
    lineage: list[SegmentView] = Field(default_factory=list)
    """Of a trial of a population: all that led to it, from the one that began anew to itself; their curves join."""


class EnqueueRequest(Plain):
    """Configurations by hand; they run before what the sampler proposes, and take from the budget."""

    params: list[dict[ParameterName, JsonValue]] = Field(min_length=1, max_length=MAX_BATCH)


class RetryRequest(Model):
    """Run failed trials of a study again; all of them, or those with one of these failures."""

    failures: list[Failure] | None = None


class RetryResponse(Model):
    """The trials that wait again."""

    numbers: list[int]
