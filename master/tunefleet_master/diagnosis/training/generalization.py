"""Rules on generalisation: training against validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tunefleet_master.diagnosis.finding import Finding, Severity, shown
from tunefleet_master.diagnosis.training.curve import TrialCurve, usable
from tunefleet_master.diagnosis.training.rule import CALIBRATED
from tunefleet_master.diagnosis.training.series import Series, Values, between, sample_size

LECTURE = "The lecture, on training against validation loss"
LAST = 3  # evaluations in a row that must agree


@dataclass(frozen=True, slots=True)
class Overfit:
    """The validation loss rises while training improves, or training is far better than validation."""

    rise: float = 0.05  # of the lowest validation loss
    of_first: float = 0.02  # of the first one; a smaller rise is irrelevant
    ahead: float = 3.0  # times the training loss
    gap: float = 0.15  # of accuracy

    code: ClassVar[str] = "overfit"
    source: ClassVar[str] = (
        f"{LECTURE}; Google tuning playbook, on problematic overfitting: 5 % over three evaluations; {CALIBRATED}."
    )

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the last three evaluations of both losses."""
        train, validation = usable(curve.train_loss), usable(curve.val_loss)
        if train is None or validation is None:
            return None
        trained, values = between(train, validation), validation.values
        return self._rising(validation, trained) or self._ahead(curve, validation, trained, values)

    def _rising(self, validation: Series, trained: Values) -> Finding | None:
        values = validation.values
        best = int(values.argmin())
        last, lowest = values[-LAST:], float(values[best])
        if best > len(values) - 1 - LAST or not trained[-LAST:].mean() <= trained[best]:
            return None
        if last.min() < (1 + self.rise) * lowest or last.min() - lowest < self.of_first * abs(values[0]):
            return None
        step, rise = int(validation.steps[best]), float(last.mean()) / lowest - 1
        return self._finding(
            f"{validation.name} has risen by {rise:.0%} since step {step} while training improved: the model overfits "
            "from there on.",
            {"from_step": step, "lowest": lowest, "rise": rise},
        )

    def _ahead(self, curve: TrialCurve, validation: Series, trained: Values, values: Values) -> Finding | None:
        loss, judged = float(trained[-LAST:].mean()), float(values[-LAST:].min())
        if not judged > self.ahead * max(loss, 0.0) or judged < self.rise * abs(values[0]):
            return None
        train, accuracy = usable(curve.train_accuracy), usable(curve.val_accuracy)
        if train is None or accuracy is None:
            if judged < 0.5 * values[0]:  # without accuracies, validation must be bad itself
                return None
            comparison, evidence = "", {"train_loss": loss, "val_loss": judged}
        else:
            gap = float((between(train, accuracy) - accuracy.values)[-LAST:].min())
            if gap < self.gap:
                return None
            comparison, evidence = (
                f", and accuracy is at least {gap:.2f} lower",
                {"train_loss": loss, "val_loss": judged, "gap": gap},
            )
        return self._finding(
            f"{validation.name} is at least {shown(judged)} while training is at {shown(loss)}{comparison}: the model "
            "overfits.",
            evidence,
        )

    def _finding(self, sentence: str, evidence: dict[str, float | int]) -> Finding:
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=sentence,
            remedy="Regularise more (weight decay, dropout, label smoothing, augmentation), use a smaller network or "
            "more data, or stop earlier. Then rank the trials again.",
            source=self.source,
            evidence=dict(evidence),
        )


@dataclass(frozen=True, slots=True)
class NoGap:
    """Validation is as good as training, measured in the same way, after training has learnt much.

    Then training has seen samples of validation or copies of them, or the data are easy for a network of limited
    capacity. It is only a warning if training has memorised its samples. `train_eval_loss` is measured at the same
    weights without dropout and the like, so that these are no excuse.
    """

    learnt: float = 0.25  # of the first training loss
    gap: float = 1.02  # times the training loss
    by_heart: float = 0.03  # of the first training loss: below it, the gap is wide in every sound training
    wide: float = 1.2

    code: ClassVar[str] = "no_gap"
    source: ClassVar[str] = f"{LECTURE}: leakage; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the last step at which both were measured in the same way, from five reports on."""
        train, alike = usable(curve.train_loss), curve.measured_alike
        if train is None or alike is None or train.values[0] <= 0:
            return None
        trained, judged = alike
        share, ratio = trained / train.values[0], judged / max(trained, 1e-12)
        is_by_heart = share < self.by_heart
        if share > self.learnt or ratio > (self.wide if is_by_heart else self.gap):
            return None
        advice = (
            "Search for equal and similar samples in both parts (`tunefleet check STUDY.yaml --data`), and for a "
            "group, such as a patient or a day, that is in both; `data.group` keeps a group in one part."
        )
        return Finding(
            code=self.code,
            severity=Severity.WARNING if is_by_heart else Severity.NOTE,
            sentence=f"The validation loss is {shown(ratio)} times the training loss, measured in the same way, "
            f"and the training loss is down to {share:.0%} of its first value: validation is as good as training.",
            remedy=advice
            if is_by_heart
            else f"Easy data and a network of limited capacity look like this. Else: {advice}",
            source=self.source,
            evidence={"ratio": ratio, "train_eval_loss": trained, "val_loss": judged, "share": share},
        )


@dataclass(frozen=True, slots=True)
class ValidationBelowTraining:
    """Validation is better than training at the end."""

    errors: float = 2.0  # standard errors of the validation accuracy
    below: float = 0.9  # of the training loss, if the standard error is unknown
    memorised: float = 0.1  # of the first loss: below it, training should be better than validation

    code: ClassVar[str] = "validation_below_training"
    source: ClassVar[str] = f"{LECTURE}: dropout or leakage; two standard errors are ours; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the last third of both losses, and at least three evaluations."""
        train, validation = usable(curve.train_loss), usable(curve.val_loss)
        if train is None or validation is None or train.values[0] <= 0:
            return None
        if (alike := curve.measured_alike) is not None and alike[0] < alike[1]:
            return None  # measured in the same way, training is better, as it should be
        trained = between(train, validation)
        n = max(LAST, len(validation) // 3)
        ratios = validation.values[-n:] / np.maximum(trained[-n:], 1e-12)
        is_memorised = bool(trained[-1] < self.memorised * train.values[0] and np.median(ratios) <= 1)
        is_better = bool(np.all(ratios < 1) and self._is_more_than_chance(curve, ratios, n))
        if not (is_memorised or is_better):
            return None
        ratio = float(np.median(ratios))
        excused = curve.regularisers  # dropout in several layers may add about a third to the training loss
        return Finding(
            code=self.code,
            # On easy data a trained network is equally good on both: that is only a note.
            severity=Severity.WARNING if is_better and not excused else Severity.NOTE,
            sentence=f"{validation.name} is {shown(ratio)} times {train.name} at the end: validation is better than "
            "training.",
            remedy=self._remedy(excused),
            source=self.source,
            evidence={"ratio": ratio, "train_loss": float(trained[-1]), "val_loss": float(validation.values[-1])},
        )

    def _is_more_than_chance(self, curve: TrialCurve, ratios: Values, n: int) -> bool:
        """Return True if accuracy is higher by two standard errors; without it, if the loss is a tenth lower."""
        train, accuracy = usable(curve.train_accuracy), usable(curve.val_accuracy)
        size = None if accuracy is None or curve.val_accuracy is None else sample_size(curve.val_accuracy.finest.values)
        if train is None or accuracy is None or size is None:
            return bool(np.median(ratios) < self.below)
        ahead = float(np.median((accuracy.values - between(train, accuracy))[-n:]))
        mean = float(accuracy.values[-n:].mean())
        return ahead > self.errors * math.sqrt(max(mean * (1 - mean), 0.25 / size) / size)

    def _remedy(self, excused: Sequence[str]) -> str:
        if excused:
            return f"{' and '.join(excused)} may have this effect, being off in validation; nothing needs to be fixed."
        return (
            "Check that no validation sample, nor one like it, is in the training part. If only dropout or "
            "augmentation makes training harder than validation, all is well."
        )


@dataclass(frozen=True, slots=True)
class NoisyValidation:
    """The validation loss jumps between evaluations by more than it still changes."""

    noise: float = 0.2  # of the level, as a standard deviation
    severe: float = 0.35
    min_evaluations: int = 6  # evaluations in the last half for a warning; with fewer the deviation is unknown

    code: ClassVar[str] = "noisy_validation"
    source: ClassVar[str] = f"Google tuning playbook, on trial variance; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the validation loss, from 8 evaluations on."""
        validation = usable(curve.val_loss, min_length=8)
        if validation is None:
            return None
        values = validation.values[len(validation) // 2 :]
        level, noise = float(np.median(np.abs(values))), jitter(values)
        if level <= 0 or noise < self.noise * level or level < 0.02 * abs(validation.values[0]):
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING
            if noise >= self.severe * level and len(values) >= self.min_evaluations
            else Severity.NOTE,
            sentence=f"{validation.name} jumps by {noise / level:.0%} of its value between evaluations in the last "
            "half of training: the best step is a matter of luck.",
            remedy="Decay the learning rate to 0, average the weights (EMA), use a larger validation part, and check "
            "that the model is in evaluation mode.",
            source=self.source,
            evidence={"noise": noise, "level": level},
        )


def jitter(values: Values) -> float:
    """Return the standard deviation of a series around its trend, from second differences (Gasser et al. 1986)."""
    if len(values) < 4:
        return 0.0
    second = values[:-2] - 2 * values[1:-1] + values[2:]
    return float(1.4826 * np.median(np.abs(second)) / math.sqrt(6))


@dataclass(frozen=True, slots=True)
class DropoutInValidation:
    """Dropout is high, but validation is no better than training while both still improve."""

    min_dropout: float = 0.4  # probability
    ratio: float = 0.98  # of validation to training, on average; healthy runs were at .97 and below

    code: ClassVar[str] = "dropout_in_validation"
    source: ClassVar[str] = f"{LECTURE}: dropout is off in validation; {CALIBRATED}, with few runs."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the first half, before a model may overfit."""
        train, validation = usable(curve.train_loss, min_length=8), usable(curve.val_loss, min_length=8)
        shares = [curve.params[name] for name in curve.regularisers if "dropout" in name]
        dropout = max((float(share) for share in shares if isinstance(share, int | float)), default=0.0)
        if train is None or validation is None or dropout < self.min_dropout:
            return None
        n = len(validation) // 2
        trained, judged = between(train, validation)[:n], validation.values[:n]
        if (trained <= 0).any() or judged[-1] > judged[0] or (ratio := float((judged / trained).mean())) < self.ratio:
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{validation.name} is {shown(ratio)} times {train.name} in the first half, although a dropout of "
            f"{shown(dropout)} should make training harder.",
            remedy="Check that the model is in evaluation mode during validation (model.eval() in torch), and in "
            "training mode during training.",
            source=self.source,
            evidence={"ratio": ratio, "dropout": dropout},
        )
