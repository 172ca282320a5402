"""What the built-in tasks take and report, as plain data: a study is judged by it without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from pydantic import JsonValue

from tunefleet.catalogue.optimizers import IN_BATCHES
from tunefleet.catalogue.schedules import NAMES


@dataclass(frozen=True, slots=True)
class TaskParameter:
    """A parameter that a space may search; it is required when it has no default, unless it is optional."""

    kind: Literal["float", "int", "choice", "flag"]
    default: JsonValue = None
    choices: tuple[str, ...] = ()
    low: float | None = None
    """The least value."""
    above: float | None = None
    """Every value is above it."""
    high: float | None = None
    """The greatest value."""
    below: float | None = None
    """Every value is below it."""
    shapes: bool = False
    """Whether what was trained with one value, weights and moments, does not fit another."""
    optional: bool = False
    """Whether a configuration may lack it although it has no default."""

    @property
    def is_required(self) -> bool:
        """Whether every configuration must have it."""
        return self.default is None and not self.optional

    def broken_rule(self, value: JsonValue) -> str | None:
        """The rule that the value breaks, None when the task takes it."""
        if self.kind == "choice":
            return None if value in self.choices else f"the task offers {', '.join(self.choices)}"
        if self.kind == "flag":
            return None if isinstance(value, bool) else "the task takes true or false here"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "the task takes a number here"
        if self.kind == "int" and not isinstance(value, int):
            return "the task takes whole numbers here; write {int: [low, high]}"
        return self._broken_bound(value)

    def _broken_bound(self, value: float) -> str | None:
        bounds = (
            (self.low, "at least", self.low is not None and value < self.low),
            (self.above, "above", self.above is not None and value <= self.above),
            (self.high, "at most", self.high is not None and value > self.high),
            (self.below, "below", self.below is not None and value >= self.below),
        )
        return next(
            (
                f"the task takes values {words} {bound:g}"
                for bound, words, broken in bounds
                if broken and bound is not None
            ),
            None,
        )


@dataclass(frozen=True, slots=True)
class TaskOption:
    """A key of `run` beside `task`."""

    choices: tuple[str, ...] = ()
    """What it may be; any text when there are none."""
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class TaskSignature:
    """What a task takes and reports."""

    summary: str
    options: Mapping[str, TaskOption]
    parameters: Mapping[str, TaskParameter]
    metrics: tuple[str, ...]
    smallest_classes: Mapping[str, int]
    """By data set: how many samples the smallest class has outside of the test part."""

    def smallest_class(self, options: Mapping[str, Any]) -> int | None:
        """How many samples its smallest class has that may be trained on; None where that is not known."""
        return self.smallest_classes.get(str(options.get("dataset")))


TASKS: Mapping[str, TaskSignature] = MappingProxyType(
    {
        "image_classification": TaskSignature(
            summary="Train a small network to tell the classes of pictures, signals or measurements apart.",
            options={
                "dataset": TaskOption(
                    choices=("digits", "mnist1d", "fashion_mnist", "wine", "breast_cancer"), is_required=True
                ),
                "folder": TaskOption(),
            },
            parameters={
                "lr": TaskParameter("float", above=0.0),
                "batch_size": TaskParameter("int", 64, low=2),
                "optimizer": TaskParameter("choice", "adamw", choices=IN_BATCHES, shapes=True),
                "momentum": TaskParameter("float", 0.9, low=0.0, below=1.0),
                "nesterov": TaskParameter("flag", False),
                "weight_decay": TaskParameter("float", 0.0, low=0.0),
                "l1": TaskParameter("float", 0.0, low=0.0),
                "label_smoothing": TaskParameter("float", 0.0, low=0.0, below=1.0),
                "mixup": TaskParameter("float", 0.0, low=0.0),
                "clip_percentile": TaskParameter("float", 100.0, above=0.0, high=100.0, shapes=True),
                "averaging": TaskParameter("choice", "none", choices=("none", "ema", "swa"), shapes=True),
                "precision": TaskParameter("choice", "full", choices=("full", "mixed")),
                "schedule": TaskParameter("choice", "constant", choices=NAMES, shapes=True),
                "period": TaskParameter("int", low=1, optional=True),
                "decay": TaskParameter("float", 0.1, above=0.0, below=1.0),
                "cycle_growth": TaskParameter("int", 1, low=1),
                "warmup": TaskParameter("float", 0.0, low=0.0),
                "model": TaskParameter("choice", "cnn", choices=("mlp", "cnn"), shapes=True),
                "depth": TaskParameter("int", 3, low=1, high=64, shapes=True),
                "width": TaskParameter("int", 32, low=1, high=16_384, shapes=True),
                "activation": TaskParameter("choice", "relu", choices=("relu", "gelu", "silu", "tanh")),
                "dropout": TaskParameter("float", 0.0, low=0.0, below=1.0),
                "normalization": TaskParameter("choice", "batch", choices=("none", "batch", "layer"), shapes=True),
                "residual": TaskParameter("flag", False, shapes=True),
            },
            metrics=("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
            smallest_classes={
                "digits": 139,
                "mnist1d": 394,
                "fashion_mnist": 6_000,
                "wine": 38,
                "breast_cancer": 170,
            },
        )
    }
)
"""The built-in tasks by name."""
