"""Findings on one trial."""

from __future__ import annotations

from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.training.curve import MIN_EVALUATIONS, TrialCurve
from tunefleet_master.diagnosis.training.rules import TRIAL_RULES


def trial_findings(curve: TrialCurve) -> list[Finding]:
    """Return the findings of all rules, the gravest first, without those that follow from another finding."""
    found = [(row, finding) for row in TRIAL_RULES if (finding := row.rule(curve)) is not None]
    implied = {code for row, _ in found for code in row.explains}
    kept = [finding for row, finding in found if row.code not in implied]
    return sorted(kept, key=lambda finding: finding.severity.rank)


def is_alarm(finding: Finding) -> bool:
    """Whether it says that something is wrong, and not only what there is to know."""
    return finding.severity is not Severity.NOTE


def lacking(curve: TrialCurve) -> list[str]:
    """A sentence for each thing that cannot be said of a trial, with what it takes."""
    missing = []
    if len(curve.points) < MIN_EVALUATIONS:
        missing.append(
            f"How training goes is read from {MIN_EVALUATIONS} reports on; so far there are {len(curve.points)}."
        )
    if curve.train_loss is None:
        missing.append("Whether it overfits or underfits is not known: report train_loss beside val_loss.")
    elif curve.val_loss is None:
        missing.append("Whether it overfits or underfits is not known: report val_loss beside train_loss.")
    return missing
