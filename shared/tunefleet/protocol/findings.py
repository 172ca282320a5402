"""What studies and trials show, as it crosses the wire; messages of the protocol."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from tunefleet.model import Model
from tunefleet.names import Name, ParameterName


class FindingView(Model):
    """One thing that is to be said of a study or of a trial."""

    code: str
    """Which rule found it; stable."""
    severity: Literal["blocker", "warning", "note"]
    sentence: str
    remedy: str
    """What to do about it."""
    source: str
    """Who says that it matters, and whose the threshold is."""
    evidence: dict[str, JsonValue]
    """The numbers behind the sentence."""
    edit: dict[ParameterName, JsonValue] | None = None
    """Parameters that mend the space, as `space` of a PATCH takes them; None: no edit does."""


class EffectView(Model):
    """What a parameter explains of the variance of the objective; all shares are from 0 to 1."""

    parameter: ParameterName
    share: float
    """By this parameter alone."""
    spread: float
    """The standard deviation of the share over the trees of the forest."""
    total: float
    """What would be gone if the parameter were fixed: alone and together with others."""


class PairEffectView(Model):
    """What two parameters explain together, beyond what each explains alone."""

    parameters: tuple[ParameterName, ParameterName]
    share: float
    spread: float


class ImportanceView(Model):
    """What the variance of the objective consists of: functional ANOVA of the trials' ranks."""

    n_trials: int
    effects: list[EffectView]
    """Of every parameter that has more than one value, the greatest first."""
    pairs: list[PairEffectView]
    """Of the most important parameters, the greatest first."""
    rest: float
    """What none of these explains: noise, and what more parameters do together."""


class GainView(Model):
    """What the trials to come are expected to gain, in the objective's unit; `best` is in the user's own sense."""

    n_trials: int
    """How many trials it is judged by."""
    n_more: int
    """How many are to come."""
    best: float
    gain: float
    """By how much the best value is expected to get better."""
    low: float
    high: float
    """The gain lies between them with a probability of 0.8."""
    chance: float
    """The probability of any gain."""
    sentence: str


class StudyFindings(Model):
    """What a study shows, of the trials that had ended when it was worked out."""

    study: Name
    event: int = 0
    """The last event of the study that was looked at; 0: none was."""
    n_ended: int = 0
    """How many trials had ended by then; those that were cancelled count for nothing."""
    n_newer: int = 0
    """How many have ended since."""
    renewing: bool = False
    """Whether a newer answer is being worked out."""
    findings: list[FindingView] = Field(default_factory=list)
    """The gravest first."""
    importance: ImportanceView | None = None
    gain: GainView | None = None
    unknown: list[str] = Field(default_factory=list)
    """A sentence for each thing that cannot be said, with what it takes."""


class TrialFindings(Model):
    """What the curves of one trial show."""

    study: Name
    number: int
    n_reports: int
    """How many reports it was read from."""
    findings: list[FindingView] = Field(default_factory=list)
    """The gravest first."""
    unknown: list[str] = Field(default_factory=list)
    """A sentence for each thing that cannot be said, with what it takes."""
