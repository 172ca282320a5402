"""Built-in tasks, their arguments and their metrics, as plain data: a study is checked without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from tunefleet.catalogue.arguments import (
    Mark,
    OneOf,
    TaskArguments,
    TaskOption,
    TaskParameter,
    options_of,
    parameters_of,
)
from tunefleet.catalogue.datasets import DATASETS
from tunefleet.catalogue.optimizers import IN_BATCHES
from tunefleet.catalogue.schedules import NAMES
from tunefleet.model import Model

Architecture = Literal["mlp", "cnn"]
Activation = Literal["relu", "gelu", "silu", "tanh"]
Normalization = Literal["none", "batch", "layer"]

NEVER_CLIPS = 100.0  # percent


class NetworkArguments(Model):
    """The arguments that the network depends on, beside its architecture."""

    depth: Annotated[int, Mark.SHAPES] = Field(default=3, ge=1, le=64)
    """Hidden layers of an mlp, convolutions of a cnn."""
    width: Annotated[int, Mark.SHAPES] = Field(default=32, ge=1, le=16_384)
    """Units of each hidden layer; channels of the first convolution."""
    activation: Activation = "relu"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    normalization: Annotated[Normalization, Mark.SHAPES] = "batch"
    residual: Annotated[bool, Mark.SHAPES] = False
    """True: every hidden layer but the first adds its output to its input."""


class TrainingArguments(Model):
    """The arguments that the updates depend on. Lengths are in epochs."""

    lr: float = Field(gt=0)
    batch_size: int = Field(default=64, ge=2)
    optimizer: Annotated[str, OneOf(IN_BATCHES), Mark.SHAPES] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0)
    l1: float = Field(default=0.0, ge=0)
    """The factor of the penalty l1 * |w|_1, applied by proximal steps."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0)
    """Alpha of the Beta distribution that mixing shares are drawn from; 0: samples are not mixed."""
    clip_percentile: Annotated[float, Mark.SHAPES] = Field(default=NEVER_CLIPS, gt=0, le=NEVER_CLIPS)
    """Gradients whose norm exceeds this percentile of the latest norms are scaled down to it. The playbook uses 90."""
    averaging: Annotated[Literal["none", "ema", "swa"], Mark.SHAPES] = "none"
    """The average of the weights that is evaluated and saved instead of the last weights."""
    precision: Literal["full", "mixed"] = "full"
    schedule: Annotated[str, OneOf(NAMES), Mark.SHAPES] = "constant"
    period: int | None = Field(default=None, ge=1)
    """`tunefleet.catalogue.schedules.PERIODS` gives its meaning for each schedule."""
    decay: float = Field(default=0.1, gt=0, lt=1)
    cycle_growth: int = Field(default=1, ge=1)
    warmup: float = Field(default=0.0, ge=0)
    """Epochs in which the rate rises linearly."""


class ImageClassificationArguments(TaskArguments, NetworkArguments, TrainingArguments):
    """The arguments of `image_classification`."""

    dataset: Annotated[str, OneOf(tuple(DATASETS)), Mark.OPTION]
    folder: Annotated[str | None, Mark.OPTION] = None
    """The folder of the data set's files, for data sets that are files."""
    model: Annotated[Architecture, Mark.SHAPES] = "cnn"


@dataclass(frozen=True)
class TaskSignature:
    """The arguments that a task takes, and the metrics that it reports."""

    summary: str
    arguments: type[TaskArguments]
    metrics: tuple[str, ...]

    @cached_property
    def options(self) -> Mapping[str, TaskOption]:
        """The keys of `run` other than `task`."""
        return options_of(self.arguments)

    @cached_property
    def parameters(self) -> Mapping[str, TaskParameter]:
        """The parameters that a space may search."""
        return parameters_of(self.arguments)

    def smallest_class(self, options: Mapping[str, Any]) -> int | None:
        """Return the number of samples outside the test part in the smallest class; None if it is not known."""
        dataset = DATASETS.get(str(options.get("dataset")))
        return None if dataset is None else dataset.smallest_class


TASKS: Mapping[str, TaskSignature] = MappingProxyType(
    {
        "image_classification": TaskSignature(
            summary="Train a small network to tell the classes of pictures, signals or measurements apart.",
            arguments=ImageClassificationArguments,
            metrics=("train_loss", "train_accuracy", "val_loss", "val_accuracy"),
        )
    }
)
"""By the names that studies use. The function NAME in `tunefleet_worker/tasks/NAME.py` runs the task NAME."""
