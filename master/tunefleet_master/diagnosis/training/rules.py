"""The table of rules on one trial: one row for each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tunefleet_master.diagnosis.finding import Severity
from tunefleet_master.diagnosis.training.budget import BudgetTooLong, BudgetTooShort
from tunefleet_master.diagnosis.training.calibration import LossBesideAccuracy, Miscalibrated
from tunefleet_master.diagnosis.training.curve import LEARNING_RATE
from tunefleet_master.diagnosis.training.generalization import (
    DropoutInValidation,
    NoGap,
    NoisyValidation,
    Overfit,
    ValidationBelowTraining,
)
from tunefleet_master.diagnosis.training.inputs import InputsShifted, InputsUnscaled, Leak
from tunefleet_master.diagnosis.training.internals import DeadUnits, LayersApart, UpdateRatio
from tunefleet_master.diagnosis.training.learning import (
    NothingCarriesOver,
    NothingLearned,
    Plateau,
    RateTooLow,
    Underfit,
)
from tunefleet_master.diagnosis.training.rule import TrialRule
from tunefleet_master.diagnosis.training.stability import Diverged, NegativeLoss, NotShuffled, RateTooHigh

REGULARISERS = re.compile(r"(^|_)(dropout|weight_decay|l2|label_smoothing|mixup)(_|$)")
SIZE = re.compile(r"(^|_)(width|depth|units|hidden|layers|channels|n_layers|n_units)(_|$)")


@dataclass(frozen=True, slots=True)
class Summary:
    """The form of a study's finding that many trials share.

    Attributes:
        predicate: the rest of the sentence after "8 of the 12 best trials".
        names: matches the parameters to widen; None: none helps.
        upper: True if the upper end is widened, False if the lower.
        severity: of the study's finding.
        only_warnings: whether it needs at least one trial that has the finding as a warning.
    """

    predicate: str
    names: re.Pattern[str] | None = None
    upper: bool = True
    severity: Severity = Severity.WARNING
    only_warnings: bool = False


@dataclass(frozen=True, slots=True)
class TrialRuleRow:
    """A rule on one trial, and its use.

    Attributes:
        rule: reads a trial's curve.
        summary: the finding of a study in which many trials have it; None: the study does not mention it.
        severity: the gravest that its findings have.
        explains: codes of findings that are left out beside it, since they follow from it.
    """

    rule: TrialRule
    summary: Summary | None = None
    severity: Severity = Severity.WARNING
    explains: frozenset[str] = frozenset()

    @property
    def code(self) -> str:
        """The code of its findings."""
        return self.rule.code


TRIAL_RULES: tuple[TrialRuleRow, ...] = (
    TrialRuleRow(
        Diverged(),
        Summary("diverged during training", LEARNING_RATE, upper=False),
        explains=frozenset({"rate_too_high", "overfit", "noisy_validation", "budget_too_long", "plateau"}),
    ),
    TrialRuleRow(NegativeLoss(), Summary("have a loss below 0")),
    TrialRuleRow(
        Leak(),
        Summary("were validated on samples that they were trained on"),
        explains=frozenset({"no_gap", "validation_below_training"}),
    ),
    TrialRuleRow(
        InputsShifted(),
        Summary("have validation inputs on another scale than training inputs"),
        explains=frozenset({"overfit", "nothing_carries_over", "noisy_validation"}),
    ),
    TrialRuleRow(InputsUnscaled(), Summary("have inputs that are far larger than networks are designed for")),
    TrialRuleRow(
        NotShuffled(),
        Summary("began below the accuracy of guessing, as with unshuffled samples"),
        explains=frozenset({"validation_below_training"}),
    ),
    TrialRuleRow(
        NothingLearned(),
        Summary("learnt nothing"),
        explains=frozenset({"underfit", "plateau", "budget_too_long", "rate_too_low"}),
    ),
    TrialRuleRow(
        NothingCarriesOver(),
        Summary("learnt nothing that generalises to validation"),
        explains=frozenset({"overfit", "budget_too_long", "rate_too_low"}),
    ),
    TrialRuleRow(
        RateTooHigh(),
        Summary("have a training loss that jumps, as at a learning rate that is too high", LEARNING_RATE, upper=False),
        explains=frozenset({"noisy_validation", "rate_too_low"}),
    ),
    TrialRuleRow(
        RateTooLow(),
        Summary("were still far from convergence, as at a learning rate that is too low", LEARNING_RATE),
        explains=frozenset({"underfit", "budget_too_short"}),
    ),
    TrialRuleRow(
        LossBesideAccuracy(),
        Summary("have a training loss that is too high for their accuracy"),
        explains=frozenset({"underfit", "miscalibrated"}),
    ),
    TrialRuleRow(LayersApart(), Summary("have layers that hardly move, or move a hundred times as fast as others")),
    TrialRuleRow(DeadUnits(), Summary("have many dead or saturated units")),
    TrialRuleRow(UpdateRatio(), Summary("have updates that are too large or too small for their weights")),
    TrialRuleRow(Overfit(), Summary("overfit", REGULARISERS), explains=frozenset({"budget_too_long"})),
    TrialRuleRow(
        NoGap(),
        Summary("are as good in validation as on their training samples", only_warnings=True),
        explains=frozenset({"validation_below_training"}),
    ),
    TrialRuleRow(ValidationBelowTraining(), Summary("are better in validation than in training", only_warnings=True)),
    TrialRuleRow(DropoutInValidation(), Summary("are no better in validation than in training with dropout")),
    TrialRuleRow(Underfit(), Summary("underfit", SIZE)),
    TrialRuleRow(NoisyValidation(), Summary("have a noisy validation loss", only_warnings=True)),
    TrialRuleRow(
        Plateau(),
        Summary("made no progress in the last half of their training", severity=Severity.NOTE),
        severity=Severity.NOTE,
    ),
    TrialRuleRow(BudgetTooShort(), Summary("were still improving at their end"), severity=Severity.NOTE),
    TrialRuleRow(BudgetTooLong(), Summary("were best in the first tenth of their steps"), severity=Severity.NOTE),
    TrialRuleRow(
        Miscalibrated(),
        Summary("have probabilities that are off by a tenth or more", severity=Severity.NOTE),
        severity=Severity.NOTE,
    ),
)
"""Causes first: a rule whose findings explain others precedes them."""
