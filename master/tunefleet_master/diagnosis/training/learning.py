"""Rules on learning: its amount, its speed and its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tunefleet_master.diagnosis.finding import Finding, Severity, shown
from tunefleet_master.diagnosis.training.curve import TrialCurve, usable
from tunefleet_master.diagnosis.training.rule import CALIBRATED
from tunefleet_master.diagnosis.training.series import Series, between

KARPATHY = "Karpathy 2019, A recipe for training neural networks"


@dataclass(frozen=True, slots=True)
class NothingLearned:
    """The training loss hardly falls."""

    fall: float = 0.05  # of the first loss
    gain: float = 0.05  # of accuracy, above which the model learns
    good: float = 0.8  # accuracy of a pretrained model

    code: ClassVar[str] = "nothing_learned"
    source: ClassVar[str] = f"{KARPATHY}: training must beat an input-independent baseline; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the training loss, or the only loss."""
        loss = usable(curve.loss)
        if loss is None or loss.values[0] <= 0:
            return None
        first, best = float(loss.values[0]), float(loss.values.min())
        accuracy = usable(curve.train_accuracy if curve.train_accuracy is not None else curve.val_accuracy)
        if best < (1 - self.fall) * first or (accuracy is not None and self._is_learning(accuracy)):
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"Nothing is learnt: {loss.name} began at {shown(first)} and was never below {shown(best)}.",
            remedy="Check that labels match their inputs, that gradients reach every layer and that the optimizer has "
            "the model's parameters. Overfit 64 samples first. Then try learning rates ten times as high and a tenth "
            "as high.",
            source=self.source,
            evidence={"first": first, "best": best, "fall": 1 - best / first},
        )

    def _is_learning(self, accuracy: Series) -> bool:
        values = accuracy.values
        return bool(values[-3:].mean() >= values[0] + self.gain or values[-3:].mean() >= self.good)


@dataclass(frozen=True, slots=True)
class NothingCarriesOver:
    """Training improves, but validation is never better than at its first evaluation."""

    fall: float = 0.05  # of the training loss, from which on the model learns
    carried: float = 0.02  # of the validation loss, from which on learning generalises
    gain: float = 0.05  # of accuracy, the same
    good: float = 0.5  # accuracy of a model that learnt most before its first evaluation

    code: ClassVar[str] = "nothing_carries_over"
    source: ClassVar[str] = f"{KARPATHY}; Zhang et al. 2017 (arXiv:1611.03530) on random labels; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check both losses."""
        train, validation = usable(curve.train_loss), usable(curve.val_loss)
        if train is None or validation is None or min(train.values[0], validation.values[0]) <= 0:
            return None
        fall = 1 - float(train.values[-3:].mean() / train.values[0])
        carried = 1 - float(validation.values.min() / validation.values[0])
        accuracy = usable(curve.val_accuracy)
        if fall < self.fall or carried > self.carried or (accuracy is not None and self._carries(accuracy)):
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{train.name} fell by {fall:.0%}, but {validation.name} never improved on its first evaluation "
            f"by more than {self.carried:.0%}: the model does not generalise.",
            remedy="Check that labels match their inputs in both parts, that validation is prepared like training, and "
            "that both come from the same data.",
            source=self.source,
            evidence={"training_fall": fall, "validation_fall": carried},
        )

    def _carries(self, accuracy: Series) -> bool:
        return bool(accuracy.values.max() >= accuracy.values[0] + self.gain or accuracy.values.max() >= self.good)


@dataclass(frozen=True, slots=True)
class RateTooLow:
    """The training loss is still high, and falls at the end as fast as before."""

    high: float = 0.5  # of the first loss
    last_quarter: float = 0.15  # of the total fall; a straight line has a quarter
    min_fall: float = 0.01  # of the first loss; below it the loss does not fall at all
    max_rises: float = 0.35  # of the steps; a loss that jumps falls slowly for another reason

    code: ClassVar[str] = "rate_too_low"
    source: ClassVar[str] = f"Bengio 2012, section 3.1 (arXiv:1206.5533); {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the training loss, or the only loss."""
        loss = usable(curve.loss)
        if loss is None or loss.values[0] <= 0:
            return None
        values = loss.values
        first, last = float(values[0]), float(values[-1])
        fall = first - last
        if last < self.high * first or fall < self.min_fall * first:
            return None
        if np.mean(np.diff(values) > 0) > self.max_rises:
            return None
        quarter = float(np.interp(0.75, np.linspace(0, 1, len(values)), values)) - last
        if quarter < self.last_quarter * fall:
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{loss.name} fell only from {shown(first)} to {shown(last)}, and {quarter / fall:.0%} of that in "
            "the last quarter: the learning rate is too low, or training ends too early.",
            remedy=self._remedy(curve),
            source=self.source,
            evidence={"first": first, "last": last, "share_of_last_quarter": quarter / fall},
        )

    def _remedy(self, curve: TrialCurve) -> str:
        if curve.rate is None:
            return "Raise the learning rate, first by a factor of ten; if the loss then jumps, train longer instead."
        name, rate = curve.rate
        return f"Raise {name} from {shown(rate)} to {shown(10 * rate)}; if the loss then jumps, train longer instead."


@dataclass(frozen=True, slots=True)
class Underfit:
    """The training loss converges far from 0, and validation is about as bad."""

    high: float = 0.75  # of the first loss
    near: float = 0.1  # of the training loss: the largest gap to validation
    poor: float = 0.75  # training accuracy below which a classifier underfits

    code: ClassVar[str] = "underfit"
    source: ClassVar[str] = f"The lecture, on training against validation loss; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check that both losses are high; the rule needs validation."""
        train, validation = usable(curve.train_loss), usable(curve.val_loss)
        if train is None or validation is None or train.values[0] <= 0:
            return None
        first, last = float(train.values[0]), float(between(train, validation)[-3:].mean())
        gap = float(validation.values[-3:].mean()) - last
        accuracy = usable(curve.train_accuracy)
        is_poor = accuracy is None or accuracy.values[-3:].mean() < self.poor
        if not is_poor or not last >= self.high * first or gap > self.near * last:
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{train.name} ends at {shown(last)}, {last / first:.0%} of its first value, and "
            f"{validation.name} is only {shown(gap)} above it: the model underfits.",
            remedy="Take a larger network, less weight decay and dropout, a better learning rate, or train longer.",
            source=self.source,
            evidence={"first": first, "last": last, "gap": gap},
        )


@dataclass(frozen=True, slots=True)
class Plateau:
    """The last half of the training brings nothing, and the training loss is not low."""

    share: float = 0.5  # of the evaluations, the last ones
    small: float = 0.02  # of the total fall of the loss
    high: float = 0.1  # of the first loss

    code: ClassVar[str] = "plateau"
    source: ClassVar[str] = f"The lecture, on lowering the rate at a plateau; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the training loss, or the only loss."""
        loss = usable(curve.loss, min_length=8)
        if loss is None or loss.values[0] <= 0:
            return None
        values, half = loss.values, int(len(loss) * (1 - self.share))
        before, after = float(values[:half].min()), float(values[half:].min())
        fall = float(values[0]) - before
        if fall <= 0 or before - after > self.small * fall or after < self.high * values[0]:
            return None
        return Finding(
            code=self.code,
            severity=Severity.NOTE,
            sentence=f"{loss.name} stays at {shown(after)} from step {int(loss.steps[half])} on: a plateau.",
            remedy="Lower the learning rate there, by a factor of ten or along a cosine, or end the trials earlier.",
            source=self.source,
            evidence={"from_step": int(loss.steps[half]), "level": after, "fall_before": fall},
        )
