"""The messages between the master, the workers and everybody who asks: frozen, closed, JSON.

Times are the master's own clock (ISO 8601, UTC); lengths of time are seconds in fields that end in `_s`. Numbers that
JSON does not have travel as the strings "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AwareDatetime, Field, JsonValue, StringConstraints

from tunefleet.configurations import ConfigurationView as ConfigurationView  # messages, too
from tunefleet.configurations import FoldView as FoldView
from tunefleet.findings import StudyFindings as StudyFindings
from tunefleet.findings import TrialFindings as TrialFindings
from tunefleet.lineage import SegmentView as SegmentView
from tunefleet.model import Model
from tunefleet.names import LARGEST_ID, Hash, MetricName, Name, ParameterName, TrialId
from tunefleet.plain import FreeText, Plain, PlainText
from tunefleet.preflight import PreflightOrder as PreflightOrder  # messages, too
from tunefleet.preflight import PreflightReport as PreflightReport
from tunefleet.problem_document import ProblemDetail as ProblemDetail  # messages, too
from tunefleet.problem_document import ProblemDocument as ProblemDocument
from tunefleet.space import Configuration
from tunefleet.space_edit import SpaceEdit as SpaceEdit
from tunefleet.spec import Budget, DataSpec, Objective, Run, StudySpec
from tunefleet.states import Failure as Failure
from tunefleet.states import PreflightState as PreflightState
from tunefleet.states import StopReason as StopReason
from tunefleet.states import StudyState as StudyState
from tunefleet.states import TrialState as TrialState
from tunefleet.worker_facts import WorkerFacts as WorkerFacts  # a message, too

API = "/api/v1"
MAX_WAIT_S = 25.0
MAX_BATCH = 1_000
LARGEST_STEP = 2**53  # the last integer that every JSON parser keeps exact

Metrics = Annotated[dict[MetricName, float], Field(min_length=1, max_length=200)]
Step = Annotated[int, Field(ge=0, le=LARGEST_STEP)]
AttemptNumber = Annotated[int, Field(ge=1, le=LARGEST_ID)]
Text = Annotated[FreeText, StringConstraints(max_length=4_000)]

T = TypeVar("T")


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


class ArtifactRef(Model):
    """A stored file of a trial."""

    name: Name
    sha256: Hash
    size_bytes: int = Field(ge=0)
    attempt: int
    created_at: AwareDatetime


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


class Report(Model):
    """Metrics at a step.

    A higher `number` replaces an earlier report of the same step, the same or a lower one changes nothing.
    """

    step: Step
    metrics: Metrics
    number: int = Field(default=0, ge=0, le=LARGEST_STEP)


class ReportBatch(Model):
    """Reports of one attempt, oldest first."""

    attempt: AttemptNumber
    reports: list[Report] = Field(min_length=1, max_length=MAX_BATCH)


class Directive(Model):
    """What the trial does next. A trial that pauses saves itself, and ends its attempt as one that stops."""

    directive: Literal["continue", "stop", "pause"]
    reason: StopReason | None = None
    message: str = ""


class HeldLease(Model):
    """A lease that a worker holds."""

    trial_id: TrialId = Field(ge=0, le=LARGEST_ID)
    attempt: AttemptNumber


class HeartbeatRequest(Model):
    """All leases of a worker in one call."""

    worker: Name
    leases: list[HeldLease] = Field(default_factory=list, max_length=1_024)
    facts: WorkerFacts = WorkerFacts()


class StopOrder(Model):
    """A lease that is still held, on a trial that must stop."""

    trial_id: TrialId
    reason: StopReason
    message: str = ""


class HeartbeatResponse(Model):
    """Which of the leases are lost, and which trials must stop; the others are extended by `lease_s` from now."""

    lost: list[TrialId]
    stop: list[StopOrder]
    lease_s: float
    heartbeat_s: float


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


# --- A user's calls ---------------------------------------------------------------------------------------------------


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


class StudyView(Model):
    """A study as it is read."""

    name: Name
    state: StudyState
    message: str
    """Why it is in this state, when somebody should know."""
    goal: Literal["maximize", "minimize"]
    metric: str
    objectives: tuple[Objective, ...] = ()
    """All of them where there are several; `goal` and `metric` are the first one's, and there is no `best`."""
    sampler: str
    sampler_reason: str
    trials: dict[TrialState, int]
    """How many are in each state; with folds, each fold of a configuration is one."""
    folds: int = 1
    """How many trials a configuration is; the budget counts configurations."""
    budget: Budget
    priority: int
    best: TrialView | None
    """With folds, the first trial of the best configuration, with the mean over its folds in the place of its value."""
    created_at: AwareDatetime
    finished_at: AwareDatetime | None
    elapsed_s: float
    preflight: PreflightState | None = None
    """What has become of its preflight; None: it has none."""
    unclaimed: str = ""
    """Why no worker takes its trials; empty while one does, and while it has none to give."""

    @property
    def most_trials(self) -> int | None:
        """How many trials its budget is; None: there is no limit."""
        return None if self.budget.trials is None else self.budget.trials * self.folds


class StudyDetail(StudyView):
    """A study with its spec."""

    spec: StudySpec
    preflight_report: PreflightReport | None = None
    """What its preflight found; None before it has ended, and where it ended without a word (the message says why)."""
    edits: list[SpaceEdit] = Field(default_factory=list)


class StudyPatch(Plain):
    """What may be changed in a study that stands; fields that are left out stay."""

    state: Literal["running", "paused", "stopped"] | None = None
    anyway: bool = False
    """With `running`: go on without a preflight that has blocked the study, or that has not passed yet."""
    budget: Budget | None = None
    priority: int | None = Field(default=None, ge=-1_000_000, le=1_000_000)
    space: dict[ParameterName, JsonValue] | None = None


class EnqueueRequest(Plain):
    """Configurations by hand; they run before what the sampler proposes, and take from the budget."""

    params: list[dict[ParameterName, JsonValue]] = Field(min_length=1, max_length=MAX_BATCH)


class RetryRequest(Model):
    """Run failed trials of a study again; all of them, or those with one of these failures."""

    failures: list[Failure] | None = None


class RetryResponse(Model):
    """The trials that wait again."""

    numbers: list[int]


class Page(Model, Generic[T]):
    """A part of a list; `next` is the `cursor` of the following part, None at the end."""

    items: list[T]
    next: str | None = None
    total: int


class WorkerView(Model):
    """A worker as it is read; `alive` while its last beat is younger than a lease."""

    name: Name
    facts: WorkerFacts
    first_seen_at: AwareDatetime
    last_beat_at: AwareDatetime
    alive: bool
    rests_until: AwareDatetime | None = None
    """It takes no trial before, since several failed on it in a row; its facts' `status` says which."""
    trials: list[TrialView]


class StatusView(Model):
    """Everything that the first page shows."""

    version: str
    now: AwareDatetime
    studies: list[StudyView]
    workers: list[WorkerView]


class Event(Model):
    """Something that happened in a study; ids rise, and a stream resumes behind `Last-Event-ID`."""

    id: int
    kind: str
    """`trial.waiting`, `trial.running`, `trial.complete`, … and `study.running`, `study.paused`, …"""
    trial: int | None
    """The trial's number."""
    at: AwareDatetime
    data: dict[str, JsonValue]
