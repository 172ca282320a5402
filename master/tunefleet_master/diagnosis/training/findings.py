"""Everything that is to be said of one trial."""

from __future__ import annotations

from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.training.budget import BudgetTooLong, BudgetTooShort
from tunefleet_master.diagnosis.training.confidence import LossBesideAccuracy, Miscalibrated
from tunefleet_master.diagnosis.training.curve import MIN_EVALUATIONS, TrialCurve
from tunefleet_master.diagnosis.training.generalising import (
    DropoutInValidation,
    NoGap,
    NoisyValidation,
    Overfit,
    ValidationBelowTraining,
)
from tunefleet_master.diagnosis.training.inputs import InputsShifted, InputsUnscaled, Leak
from tunefleet_master.diagnosis.training.inside import DeadUnits, LayersApart, UpdateRatio
from tunefleet_master.diagnosis.training.progress import (
    NothingCarriesOver,
    NothingLearned,
    Plateau,
    RateTooLow,
    Underfit,
)
from tunefleet_master.diagnosis.training.rule import TrialRule
from tunefleet_master.diagnosis.training.stability import Diverged, NegativeLoss, NotShuffled, RateTooHigh

TRIAL_RULES: tuple[TrialRule, ...] = (
    Diverged(),
    NegativeLoss(),
    Leak(),
    InputsShifted(),
    InputsUnscaled(),
    NotShuffled(),
    NothingLearned(),
    NothingCarriesOver(),
    RateTooHigh(),
    RateTooLow(),
    LossBesideAccuracy(),
    LayersApart(),
    DeadUnits(),
    UpdateRatio(),
    Overfit(),
    NoGap(),
    ValidationBelowTraining(),
    DropoutInValidation(),
    Underfit(),
    NoisyValidation(),
    Plateau(),
    BudgetTooShort(),
    BudgetTooLong(),
    Miscalibrated(),
)
"""What explains the others comes first."""

EXPLAINED = {
    "leak": frozenset({"no_gap", "validation_below_training"}),
    "inputs_shifted": frozenset({"overfit", "nothing_carries_over", "noisy_validation"}),
    "diverged": frozenset({"rate_too_high", "overfit", "noisy_validation", "budget_too_long", "plateau"}),
    "nothing_learned": frozenset({"underfit", "plateau", "budget_too_long", "rate_too_low"}),
    "nothing_carries_over": frozenset({"overfit", "budget_too_long", "rate_too_low"}),
    "rate_too_low": frozenset({"underfit", "budget_too_short"}),
    "rate_too_high": frozenset({"noisy_validation", "rate_too_low"}),
    "overfit": frozenset({"budget_too_long"}),
    "no_gap": frozenset({"validation_below_training"}),
    "not_shuffled": frozenset({"validation_below_training"}),
    "loss_beside_accuracy": frozenset({"underfit", "miscalibrated"}),
}
"""What is not said beside a finding that it follows from."""


def trial_findings(curve: TrialCurve) -> list[Finding]:
    """What the rules find, the gravest first; what follows from another finding is left out."""
    found = [finding for rule in TRIAL_RULES if (finding := rule(curve)) is not None]
    implied = {code for finding in found for code in EXPLAINED.get(finding.code, ())}
    kept = [finding for finding in found if finding.code not in implied]
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
