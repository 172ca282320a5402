"""Training against validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tunefleet_master.diagnosis.finding import Finding, Severity, shown
from tunefleet_master.diagnosis.training.curve import TrialCurve, shaped
from tunefleet_master.diagnosis.training.rule import CALIBRATED
from tunefleet_master.diagnosis.training.series import Series, Values, between, sample_size

LECTURE = "The lecture, on training against validation loss"
LAST = 3  # evaluations in a row that must agree


@dataclass(frozen=True, slots=True)
class Overfit:
    """The validation loss rises while training goes on getting better, or training is far ahead of validation."""

    rise: float = 0.05  # of the lowest validation loss
    of_first: float = 0.02  # of the first one, below which a rise is no matter
    ahead: float = 3.0  # times the training loss
    gap: float = 0.15  # of accuracy

    code: ClassVar[str] = "overfit"
    source: ClassVar[str] = (
        f"{LECTURE}; Google tuning playbook, on problematic overfitting: 5 % over three evaluations; {CALIBRATED}."
    )

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """With both losses; the last three evaluations decide."""
        train, validation = shaped(curve.train_loss), shaped(curve.val_loss)
        if train is None or validation is None:
            return None
        trained, values = between(train, validation), validation.values
        return self._rising(validation, trained) or self._ahead(curve, validation, trained, values)

    def _rising(self, validation: Series, trained: Values) -> Finding | None:
        values = validation.values
        best = int(values.argmin())
        behind, lowest = values[-LAST:], float(values[best])
        if best > len(values) - 1 - LAST or not trained[-LAST:].mean() <= trained[best]:
            return None
        if behind.min() < (1 + self.rise) * lowest or behind.min() - lowest < self.of_first * abs(values[0]):
            return None
        step, rise = int(validation.steps[best]), float(behind.mean()) / lowest - 1
        return self._finding(
            f"{validation.name} has risen by {rise:.0%} since step {step} while training went on getting better: the "
            "model overfits from there on.",
            {"from_step": step, "lowest": lowest, "rise": rise},
        )

    def _ahead(self, curve: TrialCurve, validation: Series, trained: Values, values: Values) -> Finding | None:
        loss, judged = float(trained[-LAST:].mean()), float(values[-LAST:].min())
        if not judged > self.ahead * max(loss, 0.0) or judged < self.rise * abs(values[0]):
            return None
        train, accuracy = shaped(curve.train_accuracy), shaped(curve.val_accuracy)
        if train is None or accuracy is None:
            if judged < 0.5 * values[0]:  # without accuracies, validation must be bad itself
                return None
            said, evidence = "", {"train_loss": loss, "val_loss": judged}
        else:
            gap = float((between(train, accuracy) - accuracy.values)[-LAST:].min())
            if gap < self.gap:
                return None
            said, evidence = (
                f", and accuracy is at least {gap:.2f} lower",
                {"train_loss": loss, "val_loss": judged, "gap": gap},
            )
        return self._finding(
            f"{validation.name} is {shown(judged)} or more where training is at {shown(loss)}{said}: the model "
            "overfits.",
            evidence,
        )

    def _finding(self, sentence: str, evidence: dict[str, float | int]) -> Finding:
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=sentence,
            remedy="Regularise more (weight decay, dropout, label smoothing, augmentation), take a smaller network or "
            "more data, or stop earlier; rank trials again after that.",
            source=self.source,
            evidence=dict(evidence),
        )


@dataclass(frozen=True, slots=True)
class NoGap:
    """Validation is as good as training where training, measured like validation, has learnt much.

    The samples of validation were seen in training then, or copies of them, or the data are easy for a network that is
    held back: only where training was learnt by heart is it an alarm. `train_eval_loss` is of the weights of the same
    moment, without dropout and the like, so that these excuse nothing.
    """

    learnt: float = 0.25  # of the first training loss
    gap: float = 1.02  # times the training loss
    by_heart: float = 0.03  # of the first training loss: from there on the gap is wide in all that is sound
    wide: float = 1.2

    code: ClassVar[str] = "no_gap"
    source: ClassVar[str] = f"{LECTURE}: leakage; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Where both were measured alike last; from five reports on."""
        train, alike = shaped(curve.train_loss), curve.measured_alike
        if train is None or alike is None or train.values[0] <= 0:
            return None
        trained, judged = alike
        share, ratio = trained / train.values[0], judged / max(trained, 1e-12)
        is_by_heart = share < self.by_heart
        if share > self.learnt or ratio > (self.wide if is_by_heart else self.gap):
            return None
        look = (
            "Look for equal and alike samples in both parts (`tunefleet check STUDY.yaml --data`), and for a group, a "
            "patient or a day, that is in both; `data.group` keeps it in one."
        )
        return Finding(
            code=self.code,
            severity=Severity.WARNING if is_by_heart else Severity.NOTE,
            sentence=f"The loss of validation is {shown(ratio)} times that of training where both are measured alike, "
            f"and training is down to {share:.0%} of its first loss: validation is as good as what was trained on.",
            remedy=look if is_by_heart else f"Easy data and a network that is held back look like this. Else: {look}",
            source=self.source,
            evidence={"ratio": ratio, "train_eval_loss": trained, "val_loss": judged, "share": share},
        )


@dataclass(frozen=True, slots=True)
class ValidationBelowTraining:
    """Validation is better than training at the end."""

    errors: float = 2.0  # standard errors of the validation accuracy
    below: float = 0.9  # of the training loss, where nobody knows the standard error
    memorised: float = 0.1  # of the first loss: so far down training must have left validation behind

    code: ClassVar[str] = "validation_below_training"
    source: ClassVar[str] = f"{LECTURE}: dropout or leakage; two standard errors are ours; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """With both losses; the last third decides, and at least three evaluations."""
        train, validation = shaped(curve.train_loss), shaped(curve.val_loss)
        if train is None or validation is None or train.values[0] <= 0:
            return None
        if (alike := curve.measured_alike) is not None and alike[0] < alike[1]:
            return None  # without what makes training harder it is ahead, as it should be
        trained = between(train, validation)
        n = max(LAST, len(validation) // 3)
        ratios = validation.values[-n:] / np.maximum(trained[-n:], 1e-12)
        is_memorised = bool(trained[-1] < self.memorised * train.values[0] and np.median(ratios) <= 1)
        is_better = bool(np.all(ratios < 1) and self._is_more_than_chance(curve, ratios, n))
        if not (is_memorised or is_better):
            return None
        ratio = float(np.median(ratios))
        excused = curve.regularisers  # dropout in several layers may take a third off, and nobody knows how much
        return Finding(
            code=self.code,
            # On easy data a network that has learnt everything is as good on both: then it is something to know.
            severity=Severity.WARNING if is_better and not excused else Severity.NOTE,
            sentence=f"{validation.name} is {shown(ratio)} times {train.name} at the end: validation is better than "
            "training.",
            remedy=self._remedy(excused),
            source=self.source,
            evidence={"ratio": ratio, "train_loss": float(trained[-1]), "val_loss": float(validation.values[-1])},
        )

    def _is_more_than_chance(self, curve: TrialCurve, ratios: Values, n: int) -> bool:
        """Whether accuracy is higher by two standard errors; without it, whether the loss is lower by a tenth."""
        train, accuracy = shaped(curve.train_accuracy), shaped(curve.val_accuracy)
        size = None if accuracy is None or curve.val_accuracy is None else sample_size(curve.val_accuracy.finest.values)
        if train is None or accuracy is None or size is None:
            return bool(np.median(ratios) < self.below)
        ahead = float(np.median((accuracy.values - between(train, accuracy))[-n:]))
        mean = float(accuracy.values[-n:].mean())
        return ahead > self.errors * math.sqrt(max(mean * (1 - mean), 0.25 / size) / size)

    def _remedy(self, excused: Sequence[str]) -> str:
        if excused:
            return f"This is what {' and '.join(excused)} may do, which is off in validation; nothing is to be mended."
        return (
            "See that no sample of validation, nor one like it, is among those of training; if training is only made "
            "harder than validation, by dropout or augmentation, all is well."
        )


@dataclass(frozen=True, slots=True)
class NoisyValidation:
    """Validation jumps from one evaluation to the next by more than it still moves."""

    noise: float = 0.2  # of the level, as a standard deviation
    severe: float = 0.35
    least: int = 6  # evaluations in the last half for a warning; of fewer nobody knows a deviation

    code: ClassVar[str] = "noisy_validation"
    source: ClassVar[str] = f"Google tuning playbook, on trial variance; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Of the validation loss, from 8 evaluations on."""
        validation = shaped(curve.val_loss, least=8)
        if validation is None:
            return None
        values = validation.values[len(validation) // 2 :]
        level, noise = float(np.median(np.abs(values))), jitter(values)
        if level <= 0 or noise < self.noise * level or level < 0.02 * abs(validation.values[0]):
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING if noise >= self.severe * level and len(values) >= self.least else Severity.NOTE,
            sentence=f"{validation.name} jumps by {noise / level:.0%} of itself from one evaluation to the next in the "
            "last half of training: which step is the best is luck.",
            remedy="Let the learning rate fall to 0 at the end, average the weights (EMA), take a larger validation "
            "part, and see that the model is in evaluation mode.",
            source=self.source,
            evidence={"noise": noise, "level": level},
        )


def jitter(values: Values) -> float:
    """The standard deviation of a series about its own course, from its second differences (Gasser et al. 1986)."""
    if len(values) < 4:
        return 0.0
    second = values[:-2] - 2 * values[1:-1] + values[2:]
    return float(1.4826 * np.median(np.abs(second)) / math.sqrt(6))


@dataclass(frozen=True, slots=True)
class DropoutInValidation:
    """Much dropout, and validation is no better than training while both still learn."""

    least: float = 0.4  # probability
    ratio: float = 0.98  # of validation to training, on average; healthy runs were at .97 and below

    code: ClassVar[str] = "dropout_in_validation"
    source: ClassVar[str] = f"{LECTURE}: dropout is off in validation; {CALIBRATED}, with few runs."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """The first half decides, before a model may overfit."""
        train, validation = shaped(curve.train_loss, least=8), shaped(curve.val_loss, least=8)
        shares = [curve.params[name] for name in curve.regularisers if "dropout" in name]
        dropout = max((float(share) for share in shares if isinstance(share, int | float)), default=0.0)
        if train is None or validation is None or dropout < self.least:
            return None
        n = len(validation) // 2
        trained, judged = between(train, validation)[:n], validation.values[:n]
        if (trained <= 0).any() or judged[-1] > judged[0] or (ratio := float((judged / trained).mean())) < self.ratio:
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{validation.name} is {shown(ratio)} times {train.name} in the first half, though a dropout of "
            f"{shown(dropout)} should make training the harder of the two.",
            remedy="See that the model is in evaluation mode when it is validated (model.eval() in torch), and in "
            "training mode when it learns.",
            source=self.source,
            evidence={"ratio": ratio, "dropout": dropout},
        )
