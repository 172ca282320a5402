"""The progress of a training in fitting a few samples, by the best available measure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tunefleet_worker.preflight.losses import EpochSums, FirstLoss

# Karpathy, "A Recipe for Training Neural Networks", 2019: overfit a single batch.
ACCURACY = 0.99
R2 = 0.99
MAX_SHARE_OF_GUESS = 0.25
"""With all samples classified correctly, the loss is far below that of a guess. Faults keep it high: probabilities
instead of logits leave 0.63 of ln(10), label smoothing of 0.1 leaves 0.22."""
MAX_SHARE_OF_START = 0.05
"""The bound if only a loss is reported: an R2 of 0.95, or almost no errors."""

_TRAIN = re.compile(r"(^|_)(train|training|tr)(_|$)")
_OTHER = re.compile(r"(^|_)(val|valid|validation|dev|test|eval|holdout)(_|$)")
_ACCURACY = re.compile(r"(^|_)acc(uracy)?(_|$)")
_R2 = re.compile(r"(^|_)r2(_|$)")
_LOSS = re.compile(r"(^|_)(loss|mse|nll|error|err|cross_entropy|ce)(_|$)")


@dataclass(slots=True)
class FitProgress:
    """The progress of a training.

    Attributes:
        measure: `accuracy`, `R2` or `loss`; empty while none is known.
        value: the current value of the measure.
        first: its first value.
        best: its best value.
        loss: mean loss of the last epoch in torch's loss functions; NaN if they were not used.
        start: the first loss.
        n_updates: number of updates, or an estimate of it.
    """

    measure: str = ""
    value: float = math.nan
    first: float = math.nan
    best: float = math.nan
    loss: float = math.nan
    start: FirstLoss | None = None
    n_updates: int = 0

    def add(self, trained: EpochSums, metrics: Mapping[str, float], *, start: FirstLoss | None, updates: int) -> None:
        """Add an epoch: the sums of its loss calls, and its reported metrics."""
        self.n_updates = updates or self.n_updates + max(1, trained.calls)
        self.start = start
        if trained.n:
            self.loss = trained.loss
        measure, value = _measured(trained, metrics)
        if not measure:
            return
        self.measure, self.value = measure, value
        if math.isnan(self.first):
            self.first = self.best = value
        self.best = min(self.best, value) if measure == "loss" else max(self.best, value)

    @property
    def is_right(self) -> bool:
        """True if the samples are fitted by the measure."""
        if self.measure == "loss":
            return self.value <= MAX_SHARE_OF_START * abs(self.first)
        return self.value >= (R2 if self.measure == "R2" else ACCURACY)

    @property
    def is_loss_high(self) -> bool:
        """True if the loss stays near that of a guess despite correct predictions."""
        guess = None if self.start is None else self.start.guess
        if self.measure != "accuracy" or guess is None or math.isnan(self.loss):
            return False
        return self.loss > MAX_SHARE_OF_GUESS * guess

    @property
    def has_fitted(self) -> bool:
        """True if the samples are fitted and the loss is low."""
        return self.is_right and not self.is_loss_high

    @property
    def shown(self) -> str:
        """The measure and its value, for people."""
        if not self.measure:
            return "no measure"
        text = f"{self.measure} {self.value:.3g}"
        if self.measure == "loss" or math.isnan(self.loss):
            return text
        return f"{text}, loss {self.loss:.3g}"


def _measured(trained: EpochSums, metrics: Mapping[str, float]) -> tuple[str, float]:
    """Return the best measure and its value: from the predictions, or from reported metrics of the training part."""
    if trained.accuracy is not None:
        return "accuracy", trained.accuracy
    if trained.r2 is not None:
        return "R2", trained.r2
    for measure, pattern in (("accuracy", _ACCURACY), ("R2", _R2), ("loss", _LOSS)):
        for name, value in metrics.items():
            if pattern.search(name) and (_TRAIN.search(name) or not _OTHER.search(name)):
                return measure, value
    return "", math.nan
