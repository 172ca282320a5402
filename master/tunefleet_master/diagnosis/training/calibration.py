"""Rules on the calibration of predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tunefleet_master.diagnosis.finding import Finding, Severity, shown
from tunefleet_master.diagnosis.training.curve import TrialCurve, usable
from tunefleet_master.diagnosis.training.rule import CALIBRATED
from tunefleet_master.diagnosis.training.series import Values, side_of

GUO = "Guo et al. 2017 (arXiv:1706.04599)"
MIN_CLASSES, MAX_CLASSES = 10, 1_000
"""Bounds on the number of classes that is inferred from the first loss of a classifier."""


def fano_bound(accuracy: float, classes: int) -> float:
    """Return the highest cross-entropy, in nats, of calibrated predictions with this accuracy.

    The loss of a calibrated model is the entropy of the label given its prediction. Fano's inequality bounds that by
    the
    error e: h(e) + e ln(classes - 1), where h is the binary entropy (Cover and Thomas 2006, theorem 2.10.1).
    """
    error = min(max(1 - accuracy, 0.0), 1.0)
    coin = -sum(p * math.log(p) for p in (error, 1 - error) if p > 0)
    return coin + error * math.log(max(1, classes - 1))


def classes_of(first_loss: float) -> int:
    """Return the number of classes for which guessing has this loss, from 10 to 1000."""
    return round(math.exp(min(max(first_loss, math.log(MIN_CLASSES)), math.log(MAX_CLASSES))))


@dataclass(frozen=True, slots=True)
class LossBesideAccuracy:
    """The training loss is higher than the training accuracy allows."""

    margin: float = 0.05  # nats, at the end
    high: float = 0.5  # of the first loss, below which the rule does not apply: a small loss may consist of a penalty
    margin_at_first: float = 0.5  # nats, at the first evaluation, for any number of classes

    code: ClassVar[str] = "loss_beside_accuracy"
    source: ClassVar[str] = f"Fano's inequality, Cover and Thomas 2006; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the last three evaluations, and the first, which shows a bad initialisation."""
        loss, accuracy = usable(curve.train_loss), usable(curve.train_accuracy)
        if loss is None or accuracy is None or len(loss) != len(accuracy):
            return None
        if not np.all((accuracy.values >= 0) & (accuracy.values <= 1)) or any(
            "smooth" in name for name in curve.params
        ):
            return None
        at = self._violation(loss.values, accuracy.values)
        if at is None:
            return None
        value, share = float(loss.values[at]), float(accuracy.values[at])
        bound = fano_bound(share, classes_of(float(loss.values[0])))
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{loss.name} is {shown(value)} {'at the end' if at else 'at first'} with an accuracy of "
            f"{share:.2f}; calibrated probabilities lose at most {shown(bound)}.",
            remedy=self._remedy(at_end=bool(at)),
            source=self.source,
            evidence={"loss": value, "accuracy": share, "bound": bound},
        )

    def _violation(self, loss: Values, accuracy: Values) -> int | None:
        """Return -1 if the last three evaluations are too high, 0 if the first is, None otherwise."""
        classes = classes_of(float(loss[0]))
        over = [float(lost) - fano_bound(float(share), classes) for lost, share in zip(loss, accuracy, strict=True)]
        if float(np.median(over[-3:])) > self.margin and loss[-1] >= self.high * loss[0]:
            return -1
        at_first = float(loss[0]) - fano_bound(float(accuracy[0]), MAX_CLASSES)
        return 0 if at_first > self.margin_at_first else None

    def _remedy(self, *, at_end: bool) -> str:
        if at_end:
            return (
                "Check that the loss takes logits if it applies softmax itself, and that it contains no large "
                "penalty. Label smoothing also has this effect."
            )
        return "Standardise the inputs, and initialise the last layer small: the first loss should be that of guessing."


@dataclass(frozen=True, slots=True)
class Miscalibrated:
    """The probabilities in validation are off by more than a few percent."""

    error: float = 0.1  # expected calibration error
    severe: float = 0.2

    code: ClassVar[str] = "miscalibrated"
    source: ClassVar[str] = f"{GUO}; the thresholds are ours."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check `val_ece`, or `val_confidence` together with an accuracy, if reported."""
        found = self._reported(curve)
        if found is None or found[1] < self.error:
            return None
        name, error = found
        return Finding(
            code=self.code,
            severity=Severity.NOTE,
            sentence=f"Probabilities are off by {error:.2f} on average ({name}).",
            remedy="Divide the logits by a temperature fitted on validation data, and report both; the accuracy does "
            "not change. Less training, label smoothing or mixup also help.",
            source=self.source,
            evidence={"calibration_error": error, "severe": error >= self.severe},
        )

    def _reported(self, curve: TrialCurve) -> tuple[str, float] | None:
        names = {side_of(name)[1]: name for name in curve.names if side_of(name)[0] != "train"}
        if "ece" in names:
            series = usable(curve.series(names["ece"]), min_length=1)
            return None if series is None else (names["ece"], float(np.median(series.values[-3:])))
        accuracy = usable(curve.val_accuracy, min_length=1)
        if "confidence" in names and accuracy is not None:
            confidence = usable(curve.series(names["confidence"]), min_length=1)
            if confidence is not None:
                gap = float(np.median(confidence.values[-3:]) - np.median(accuracy.values[-3:]))
                return f"{names['confidence']} against {accuracy.name}", abs(gap)
        return None
