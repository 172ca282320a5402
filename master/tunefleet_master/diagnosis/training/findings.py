"""Findings on one trial."""

from __future__ import annotations

from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.training.curve import MIN_EVALUATIONS, TrialCurve
from tunefleet_master.diagnosis.training.rules import TRIAL_RULES


def trial_findings(curve: TrialCurve) -> list[Finding]:
    """Return the findings of all rules, the most severe first, without those that follow from another finding."""
    found = [(row, finding) for row in TRIAL_RULES if (finding := row.rule(curve)) is not None]
    implied = {code for row, _ in found for code in row.explains}
    remaining = [finding for row, finding in found if row.code not in implied]
    return sorted(remaining, key=lambda finding: finding.severity.rank)


def is_alarm(finding: Finding) -> bool:
    """Return True if the finding is a warning or worse, not a note."""
    return finding.severity is not Severity.NOTE


def lacking(curve: TrialCurve) -> list[str]:
    """Return a sentence on each quantity that the rules lack, with what it requires."""
    missing = []
    if len(curve.points) < MIN_EVALUATIONS:
        missing.append(f"Curves are diagnosed from {MIN_EVALUATIONS} reports on; so far there are {len(curve.points)}.")
    if curve.train_loss is None:
        missing.append("Overfitting and underfitting are not diagnosed: report train_loss besides val_loss.")
    elif curve.val_loss is None:
        missing.append("Overfitting and underfitting are not diagnosed: report val_loss besides train_loss.")
    return missing
