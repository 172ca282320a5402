"""Findings about studies and trials."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from tunefleet.model import Model
from tunefleet.names import Name, ParameterName


class FindingView(Model):
    """One finding about a study or a trial."""

    code: str
    """The stable name of the rule that found it."""
    severity: Literal["blocker", "warning", "note"]
    sentence: str
    remedy: str
    """The recommended action."""
    source: str
    """The reference for the rule and for its threshold."""
    evidence: dict[str, JsonValue]
    """The numbers in the sentence."""
    edit: dict[ParameterName, JsonValue] | None = None
    """New ranges that remedy the finding, in the form of `space` in a PATCH; None: no edit of the space does."""


class EffectView(Model):
    """The share of the objective's variance that a parameter explains; all shares are from 0 to 1."""

    parameter: ParameterName
    share: float
    """The share of this parameter alone."""
    spread: float
    """The standard deviation of the share over the trees of the forest."""
    total: float
    """The share that would disappear if the parameter were fixed: its own and its interactions."""


class PairEffectView(Model):
    """The share that two parameters explain together, beyond the share of each alone."""

    parameters: tuple[ParameterName, ParameterName]
    share: float
    spread: float


class ImportanceView(Model):
    """The importance of parameters: a functional ANOVA of the trials' ranks."""

    n_trials: int
    effects: list[EffectView]
    """All parameters with more than one value, the greatest effect first."""
    pairs: list[PairEffectView]
    """Pairs of the most important parameters, the greatest effect first."""
    rest: float
    """The share that none of these explains: noise, and interactions of more than two parameters."""


class GainView(Model):
    """The gain expected from further trials, in the objective's unit. `best` is a value as reported."""

    n_trials: int
    """The number of trials that the estimate uses."""
    n_more: int
    """The number of further trials."""
    best: float
    gain: float
    """The expected improvement of the best value."""
    low: float
    high: float
    """The bounds of the 80 % interval of the gain."""
    chance: float
    """The probability of any improvement."""
    sentence: str


class StudyFindings(Model):
    """Findings about a study, from the trials that had ended when they were computed."""

    study: Name
    event: int = 0
    """The last event of the study that was taken into account; 0: none."""
    n_ended: int = 0
    """The number of trials that had ended by then, without cancelled ones."""
    n_newer: int = 0
    """The number of trials that have ended since."""
    renewing: bool = False
    """True while newer findings are being computed."""
    findings: list[FindingView] = Field(default_factory=list)
    """Sorted by severity, the most severe first."""
    importance: ImportanceView | None = None
    gain: GainView | None = None
    unknown: list[str] = Field(default_factory=list)
    """A sentence for each question that cannot be answered yet, with the data it needs."""


class TrialFindings(Model):
    """Findings about the curves of one trial."""

    study: Name
    number: int
    n_reports: int
    """The number of reports that were read."""
    findings: list[FindingView] = Field(default_factory=list)
    """Sorted by severity, the most severe first."""
    unknown: list[str] = Field(default_factory=list)
    """A sentence for each question that cannot be answered yet, with the data it needs."""
