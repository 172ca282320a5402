"""Studies as users read and change them."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field, JsonValue

from tunefleet.model import Model
from tunefleet.names import Name, ParameterName
from tunefleet.plain import Plain
from tunefleet.protocol.preflight import PreflightReport
from tunefleet.protocol.space_edits import SpaceEdit
from tunefleet.protocol.trials import TrialView
from tunefleet.study.objective import Objective
from tunefleet.study.spec import Budget, StudySpec
from tunefleet.study.states import PreflightState, StudyState, TrialState


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
