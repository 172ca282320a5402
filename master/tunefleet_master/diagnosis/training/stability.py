"""Rules on the stability of training: losses that diverge, fall below 0 or jump."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tunefleet_master.diagnosis.finding import Finding, Severity, shown
from tunefleet_master.diagnosis.training.curve import TrialCurve, usable
from tunefleet_master.diagnosis.training.rule import CALIBRATED
from tunefleet_master.diagnosis.training.series import Series

MAX_NATS = 7.0  # the loss of guessing among a thousand classes

PLAYBOOK = "Google tuning playbook, on infeasible trials and training instability"


def lower_rate_remedy(curve: TrialCurve, factor: float = 10.0) -> str:
    """Return the remedy for a learning rate that is too high, with its value if it is known."""
    if curve.rate is None:
        return f"Lower the learning rate, first by a factor of {factor:g}, or warm it up."
    name, rate = curve.rate
    return f"Lower {name} from {shown(rate)} to {shown(rate / factor)} or below, or warm it up."


@dataclass(frozen=True, slots=True)
class Diverged:
    """A metric is NaN or infinite, or the training loss ends above its first value."""

    rise: float = 1.5  # of the last loss to the first one; a run that learns nothing ends at about 1

    code: ClassVar[str] = "diverged"
    source: ClassVar[str] = f"{PLAYBOOK}: a trial is infeasible if its loss ends above its first value; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check all reports, even if there are few."""
        for step, metrics in curve.points:
            for name, value in metrics.items():
                if not math.isfinite(value):
                    return self._finding(curve, f"{name} was {value} at step {step}", {"step": step})
        loss = curve.loss
        if loss is None or len(loss.numbers) < 3 or curve.train_loss is None:
            return None
        first, last = float(loss.numbers.values[0]), float(np.median(loss.numbers.values[-3:]))
        if first <= 0 or last <= self.rise * first:
            return None
        description = f"{loss.name} began at {shown(first)} and ended at {shown(last)}"
        return self._finding(curve, description, {"first": first, "last": last})

    def _finding(self, curve: TrialCurve, description: str, evidence: dict[str, float | int]) -> Finding:
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"Training diverged: {description}.",
            remedy=f"{lower_rate_remedy(curve)} If it still diverges, clip gradients, and check the loss for a "
            "division by 0 or the logarithm of 0.",
            source=self.source,
            evidence=dict(evidence),
        )


@dataclass(frozen=True, slots=True)
class NegativeLoss:
    """The loss of a classifier is below 0."""

    code: ClassVar[str] = "negative_loss"
    source: ClassVar[str] = "A cross-entropy and a sum of squares are 0 or more."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check trials that report accuracies; the negative log-likelihood of a density may be below 0."""
        if curve.train_accuracy is None and curve.val_accuracy is None:
            return None
        for loss in (curve.train_loss, curve.val_loss):
            if loss is not None and (loss.finest.values < 0).any():
                return self._finding(loss, int((loss.finest.values < 0).argmax()))
        return None

    def _finding(self, loss: Series, at: int) -> Finding:
        step, lowest = int(loss.finest.steps[at]), float(loss.finest.values.min())
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{loss.name} is below 0 from step {step} on (minimum {shown(lowest)}), which is impossible for "
            "the loss of a classifier.",
            remedy="Check the loss for a penalty with the wrong sign or a logarithm without its minus sign: the "
            "quantity minimised has no lower bound.",
            source=self.source,
            evidence={"step": step, "lowest": lowest},
        )


@dataclass(frozen=True, slots=True)
class RateTooHigh:
    """The training loss jumps up repeatedly, or far above its first value."""

    jump: float = 0.07  # of the loss before it
    share: float = 0.1  # of the steps: the share of such jumps
    min_jumps: int = 2
    peak: float = 1.5  # times the first loss
    small: float = 0.3  # of the first loss; below it, jumps are measured relative to this value

    code: ClassVar[str] = "rate_too_high"
    source: ClassVar[str] = f"{PLAYBOOK}; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the training loss; validation jumps for other reasons, too."""
        loss = usable(curve.train_loss)
        if loss is None or loss.values[0] <= 0:
            return None
        first, values = float(loss.values[0]), np.maximum(loss.values, 0)
        rises = np.diff(values) > self.jump * np.maximum(values[:-1], self.small * first)
        n_jumps, n_steps = int(rises.sum()), len(rises)
        peak = float(values.max()) / first
        jumps = n_jumps >= self.min_jumps and n_jumps >= self.share * n_steps
        if not jumps and peak < self.peak:
            return None
        sentence = (
            f"{loss.name} rose by more than {self.jump:.0%} in {n_jumps} of {n_steps} steps between evaluations"
            if jumps
            else f"{loss.name} rose to {shown(peak)} times its first value"
        )
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{sentence}: the learning rate is too high.",
            remedy=f"{lower_rate_remedy(curve, 3.0)} If a lower rate also jumps, check that gradients are set to 0 in "
            "each step and that samples are shuffled.",
            source=self.source,
            evidence={"n_jumps": n_jumps, "n_steps": n_steps, "peak": peak},
        )


@dataclass(frozen=True, slots=True)
class NotShuffled:
    """The first training accuracy is below that of guessing: batches contain classes not seen for long."""

    share: float = 0.5  # of the accuracy of guessing
    unlearned: float = 1.5  # nats of the first validation loss, below which it is no longer that of guessing

    code: ClassVar[str] = "not_shuffled"
    source: ClassVar[str] = f"Bengio 2012, section 3.1 (arXiv:1206.5533), on the order of samples; {CALIBRATED}."

    def __call__(self, curve: TrialCurve) -> Finding | None:
        """Check the first evaluation; a guess with a loss of v nats is right with probability exp(-v)."""
        accuracy, validation = usable(curve.train_accuracy), usable(curve.val_loss)
        if accuracy is None or validation is None:
            return None
        first, lost = float(accuracy.values[0]), float(validation.values[0])
        guess = math.exp(-lost)
        if not self.unlearned <= lost <= MAX_NATS or not 0 <= first < self.share * guess:
            return None
        return Finding(
            code=self.code,
            severity=Severity.WARNING,
            sentence=f"{accuracy.name} is {shown(first)} at first, below the {shown(guess)} of guessing: batches do "
            "not mix the classes.",
            remedy="Shuffle the training samples in each epoch; files are often sorted by class.",
            source=self.source,
            evidence={"first": first, "guess": guess},
        )
