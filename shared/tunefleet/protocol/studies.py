"""Studies: what users read and what they may change."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field, JsonValue

from tunefleet.model import Model
from tunefleet.names import Name, ParameterName
from tunefleet.plain import Plain
from tunefleet.protocol.preflight import PreflightReport
from tunefleet.protocol.trials import TrialView
from tunefleet.study.objective import Objective
from tunefleet.study.spec import Budget, StudySpec
from tunefleet.study.states import PreflightState, StudyState, TrialState


class StudyView(Model):
    """A study as users read it."""

    name: Name
    state: StudyState
    message: str
    """The reason for its state, if a user should know it."""
    goal: Literal["maximize", "minimize"]
    metric: str
    objectives: tuple[Objective, ...] = ()
    """All objectives if there are several. Then `goal` and `metric` are those of the first, and `best` is None."""
    sampler: str
    sampler_reason: str
    trials: dict[TrialState, int]
    """The number of trials in each state. With folds, each fold of a configuration counts as one trial."""
    folds: int = 1
    """The number of trials in a configuration. The budget counts configurations."""
    budget: Budget
    priority: int
    best: TrialView | None
    """With folds: the first trial of the best configuration, with the mean over the folds as its value."""
    created_at: AwareDatetime
    finished_at: AwareDatetime | None
    elapsed_s: float
    preflight: PreflightState | None = None
    """The state of its preflight; None: it has none."""
    unclaimed: str = ""
    """The reason that no worker takes its trials; empty while a worker does, or while no trial waits."""

    @property
    def most_trials(self) -> int | None:
        """The number of trials in its budget; None: there is no limit."""
        return None if self.budget.trials is None else self.budget.trials * self.folds


class SpaceEdit(Model):
    """A change of the space that a study searches, made by a user or by its next stage."""

    version: int
    """The version of the space after the change. Earlier trials have lower versions."""
    at: AwareDatetime
    changed: dict[ParameterName, tuple[str, str]]
    """Each changed parameter, before and after the change, as text."""
    stage: int | None = None
    """The stage that starts with this change, from 0; None: a user made the change."""
    evidence: list[str] = Field(default_factory=list)
    """The reasons for the new ranges, one sentence each."""


class StudyDetail(StudyView):
    """A study with its spec."""

    spec: StudySpec
    preflight_report: PreflightReport | None = None
    """The report of its preflight. None before it ends, or if it ended without one; then `message` has the reason."""
    edits: list[SpaceEdit] = Field(default_factory=list)


class StudyPatch(Plain):
    """Changes to an existing study. Fields that are left out stay as they are."""

    state: Literal["running", "paused", "stopped"] | None = None
    anyway: bool = False
    """With `running`: run although a preflight has blocked the study or has not passed yet."""
    budget: Budget | None = None
    priority: int | None = Field(default=None, ge=-1_000_000, le=1_000_000)
    space: dict[ParameterName, JsonValue] | None = None
