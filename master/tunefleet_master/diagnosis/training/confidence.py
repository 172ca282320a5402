"""Whether predictions are as sure as they are right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tunefleet_master.diagnosis.finding import Finding, Severity, shown
from tunefleet_master.diagnosis.training.curve import TrialCurve, shaped
from tunefleet_master.diagnosis.training.rule import CALIBRATED
from tunefleet_master.diagnosis.training.series import Values, side_of

GUO = "Guo et al. 2017 (arXiv:1706.04599)"
MIN_CLASSES, MAX_CLASSES = 10, 1_000
"""That a classifier is taken to have: as many as a guess that loses what it lost at first, and never fewer or more."""


def fano_bound(accuracy: float, classes: int) -> float:
    """The highest cross-entropy, in nats, that predictions of this accuracy can have if they are calibrated.

    What a calibrated model loses is the entropy of the label given its prediction, and Fano's inequality bounds that
    by the error e: h(e) + e ln(classes - 1), h being the entropy of a coin (Cover and Thomas 2006, theorem 2.10.1).
    """
    error = min(max(1 - accuracy, 0.0), 1.0)
    coin = -sum(p * math.log(p) for p in (error, 1 - error) if p > 0)
    return coin + error * math.log(max(1, classes - 1))


def classes_of(first_loss: float) -> int:
    """How many classes a model has that began with this loss, as a guess does; from 10 to 1000."""
    return round(math.exp(min(max(first_loss, math.log(MIN_CLASSES)), math.log(MAX_CLASSES))))


@dataclass(frozen=True, slots=True)
class LossBesideAccuracy:
    """The training loss is higher than the training accuracy allows."""

    margin: float = 0.05  # nats, at the end
    high: float = 0.5  # of the first loss, that it must still be: a small one may hold a penalty
    margin_at_first: float = 0.5  # nats, before anything is learnt, and whatever the classes

    code: ClassVar[str] = "loss_beside_accuracy"
    source: ClassVar[str] = f"Fano's inequality, Cover and Thomas 2006; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """The last three evaluations decide, or the first: before anything is learnt, a start that is far off shows."""
        loss, accuracy = shaped(curve.train_loss), shaped(curve.train_accuracy)
        if loss is None or accuracy is None or len(loss) != len(accuracy):
            return None
        if not np.all((accuracy.values >= 0) & (accuracy.values <= 1)) or any(
            "smooth" in name for name in curve.params
        ):
            return None
        at = self._place(loss.values, accuracy.values)
        if at is None:
            return None
        value, share = float(loss.values[at]), float(accuracy.values[at])
        bound = fano_bound(share, classes_of(float(loss.values[0])))
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{loss.name} is {shown(value)} {'at the end' if at else 'at first'} with an accuracy of "
            f"{share:.2f}, for which {shown(bound)} is the most that sound probabilities can lose.",
            remedy=self._remedy(at_end=bool(at)),
            source=self.source,
            evidence={"loss": value, "accuracy": share, "bound": bound},
        )

    def _place(self, loss: Values, accuracy: Values) -> int | None:
        """-1 where the last three evaluations are too high, 0 where the first is, None where neither is."""
        classes = classes_of(float(loss[0]))
        over = [float(lost) - fano_bound(float(share), classes) for lost, share in zip(loss, accuracy, strict=True)]
        if float(np.median(over[-3:])) > self.margin and loss[-1] >= self.high * loss[0]:
            return -1
        at_first = float(loss[0]) - fano_bound(float(accuracy[0]), MAX_CLASSES)
        return 0 if at_first > self.margin_at_first else None

    def _remedy(self, *, at_end: bool) -> str:
        if at_end:
            return (
                "See that the loss takes logits where it applies softmax itself, and that no large penalty is part of "
                "it; label smoothing does this, too."
            )
        return "Standardise the inputs, and let the last layer begin small: the first loss should be that of a guess."


@dataclass(frozen=True, slots=True)
class Miscalibrated:
    """Probabilities of validation are off by more than a few percent."""

    error: float = 0.1  # expected calibration error
    severe: float = 0.2

    code: ClassVar[str] = "miscalibrated"
    source: ClassVar[str] = f"{GUO}; the thresholds are ours."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Where `val_ece`, or `val_confidence` beside an accuracy, is reported."""
        found = self._reported(curve)
        if found is None or found[1] < self.error:
            return None
        name, error = found
        return Finding(
            code=self.code,
            severity=Severity.NOTE,
            sentence=f"Probabilities are off by {error:.2f} on average ({name}).",
            remedy="Divide the logits by a temperature that is fitted on validation, and report both; accuracy stays "
            "what it is. Less training, label smoothing or mixup help as well.",
            source=self.source,
            evidence={"calibration_error": error, "severe": error >= self.severe},
        )

    def _reported(self, curve: TrialCurve) -> tuple[str, float] | None:
        names = {side_of(name)[1]: name for name in curve.names if side_of(name)[0] != "train"}
        if "ece" in names:
            series = shaped(curve.series(names["ece"]), least=1)
            return None if series is None else (names["ece"], float(np.median(series.values[-3:])))
        accuracy = shaped(curve.val_accuracy, least=1)
        if "confidence" in names and accuracy is not None:
            confidence = shaped(curve.series(names["confidence"]), least=1)
            if confidence is not None:
                gap = float(np.median(confidence.values[-3:]) - np.median(accuracy.values[-3:]))
                return f"{names['confidence']} against {accuracy.name}", abs(gap)
        return None
