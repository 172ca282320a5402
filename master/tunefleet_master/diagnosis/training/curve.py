"""A trial as the input of rules: its reports, its configuration, and the telemetry of `trial.watch`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from tunefleet.study.space import Configuration
from tunefleet_master.diagnosis.training.series import (
    TRAIN,
    VALIDATION,
    Series,
    is_accuracy,
    is_loss,
    side_of,
)

LEARNING_RATE = re.compile(r"(^|_)(lr|learning_rate)(_|$)")

TRAIN_EVAL_LOSS = "train_eval_loss"
"""The loss on training samples, measured like validation: at the same weights, without dropout, smoothing or mixup."""

MIN_EVALUATIONS = 5  # the shortest curve with a shape

REGULARISERS = frozenset(
    {
        "dropout",
        "droppath",
        "drop",
        "smoothing",
        "mixup",
        "cutmix",
        "cutout",
        "augment",
        "augmentation",
        "noise",
        "jitter",
    }
)
"""Words in the names of parameters that make training harder than validation."""


@dataclass(frozen=True)
class TrialCurve:
    """The input of rules over one trial; costly quantities are computed once.

    Attributes:
        points: step and metrics of each report, by step.
        metric: of the study's first objective.
        maximised: True if the metric is maximised.
        steps: the steps of a full trial; None: the study does not set them.
        is_whole: True if the trial ran to its end, neither stopped early nor still running.
        params: its configuration.
        update_ratios: the typical size of an update relative to the weights, by weight tensor; empty without telemetry.
    """

    points: Sequence[tuple[int, Mapping[str, float]]]
    metric: str
    maximised: bool
    steps: int | None = None
    is_whole: bool = True
    params: Configuration = field(default_factory=dict)
    update_ratios: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def names(self) -> list[str]:
        """The reported metrics, in the order in which they first came."""
        return list(dict.fromkeys(name for _, metrics in self.points for name in metrics))

    def series(self, name: str) -> Series:
        """Return one metric."""
        return Series.of(name, self.points)

    @cached_property
    def objective(self) -> Series:
        """The study's metric."""
        return self.series(self.metric)

    @cached_property
    def train_loss(self) -> Series | None:
        """The training loss; None if it is not reported."""
        return self._found(TRAIN, is_loss)

    @cached_property
    def val_loss(self) -> Series | None:
        """The validation loss; also a metric without a prefix that is the objective."""
        return self._found(VALIDATION, is_loss)

    @cached_property
    def train_accuracy(self) -> Series | None:
        """The training accuracy."""
        return self._found(TRAIN, is_accuracy)

    @cached_property
    def val_accuracy(self) -> Series | None:
        """The validation accuracy."""
        return self._found(VALIDATION, is_accuracy)

    @cached_property
    def measured_alike(self) -> tuple[float, float] | None:
        """The training and validation losses at the last step at which both were measured in the same way."""
        if self.val_loss is None:
            return None
        trained, judged = self.series(TRAIN_EVAL_LOSS).finest, self.val_loss.finest
        steps, of_training, of_validation = np.intersect1d(trained.steps, judged.steps, return_indices=True)
        if not len(steps):
            return None
        return float(trained.values[of_training[-1]]), float(judged.values[of_validation[-1]])

    @property
    def loss(self) -> Series | None:
        """The training loss, or else the validation loss."""
        return self.train_loss if self.train_loss is not None else self.val_loss

    @cached_property
    def judged(self) -> Series:
        """The objective, minimised."""
        sign = -1.0 if self.maximised else 1.0
        return Series(self.metric, self.objective.steps, sign * self.objective.values)

    @property
    def rate(self) -> tuple[str, float] | None:
        """The name and value of the learning rate; None if the configuration has none."""
        for name, value in self.params.items():
            if LEARNING_RATE.search(name) and isinstance(value, int | float) and value > 0:
                return name, float(value)
        return None

    @cached_property
    def regularisers(self) -> list[str]:
        """Names of parameters that make training harder than validation and are not 0 or off."""
        words = {name: set(name.lower().replace("-", "_").split("_")) for name in self.params}
        return [name for name, parts in words.items() if parts & REGULARISERS and self.params[name]]

    def _found(self, side: str, fits: Callable[[str], bool]) -> Series | None:
        """Return the metric of a side that fits, with the shortest name: `val_loss` before `val_aux_loss`."""
        fitting = [name for name in self.names if fits(name) and self._side(name) == side]
        return self.series(min(fitting, key=len)) if fitting else None

    def _side(self, name: str) -> str:
        side, _ = side_of(name)
        if side is not None:
            return side
        if name.lower().startswith("test"):
            return "test"
        # Keras names its training loss `loss`, besides `val_loss`; a lone objective `loss` is of validation.
        has_sides = any(side_of(other)[0] == VALIDATION for other in self.names)
        return TRAIN if has_sides or name != self.metric else VALIDATION


def usable(series: Series | None, *, min_length: int = MIN_EVALUATIONS) -> Series | None:
    """Return the finite numbers of a series; None if they are too few."""
    if series is None or len(series.numbers) < min_length:
        return None
    return series.numbers
