"""Telemetry of a training, as `trial.watch` records it: columns of bounded size over the watched updates."""

from __future__ import annotations

from statistics import median
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunefleet.model import Model
from tunefleet.plain import PlainText

TELEMETRY = "telemetry.json"
"""The name of the artifact."""

FORMAT = "tunefleet.telemetry/1"
MAX_BYTES = 4_000_000
"""Above the size of the largest telemetry: 200 tensors and 200 layers at 256 updates."""

MAX_RECORDS = 256  # four per doubling reach 2^64 updates
MAX_TENSORS = 200
MAX_LAYERS = 200
MAX_NAME = 200  # characters

RATIO_BAND = (1e-4, 3e-2)
"""The range of update-to-weight ratios in epochs 2 and 3 within which short trainings of small networks learn."""

HOT_START = 6e-2
"""The update-to-weight ratio in the first epoch above which a training fails. In later epochs its ratio may lie within
RATIO_BAND again, because weights have grown or units are dead. Healthy trainings had at most 3.2e-2, failed ones at
least 1e-1 (digits; small networks with relu, tanh and gelu, with and without batch normalisation; SGD with momentum and
Adam).
"""

UPDATE_RATIO, GRAD_NORM = "watch.update_ratio", "watch.grad_norm"
DEAD_UNITS, SATURATED_UNITS = "watch.dead_units", "watch.saturated_units"
INPUT_SCALE, INPUT_SHIFT = "watch.input_scale", "watch.input_shift"
"""The root mean square of the first layer's training inputs, and the shift between training and validation inputs.

The shift is the larger of two numbers: the difference of the means in standard deviations of the training inputs, and
(f - 1) / 2 where the standard deviations differ by a factor f.
"""

VAL_SEEN = "watch.val_seen"
"""The share of validation samples that training has seen, beyond the share that duplicates in validation explain."""

SUMMARIES = (UPDATE_RATIO, GRAD_NORM, DEAD_UNITS, SATURATED_UNITS, INPUT_SCALE, INPUT_SHIFT, VAL_SEEN)
"""The metrics that a watch adds to a trial's reports."""

Name = Annotated[PlainText, StringConstraints(max_length=MAX_NAME)]
Column = Annotated[list[float | None], Field(max_length=MAX_RECORDS)]
"""One number for each watched update; None if there was nothing to measure."""


class WatchedTensor(Model):
    """A parameter, or the sum of those beyond MAX_TENSORS, with its ratio at each watched update."""

    name: Name
    shape: tuple[Annotated[int, Field(ge=0)], ...] = Field(max_length=16)
    tensors: int = Field(default=1, ge=1)
    """The number of tensors that it stands for. The ratio of several is that of all their elements together."""
    update_ratio: Column
    """The norm of the applied step, divided by the norm of the tensor before the step; None if that is 0."""

    @property
    def is_weight(self) -> bool:
        """True for a matrix or a filter. The ratios of biases mean little, because biases start at zero."""
        return len(self.shape) > 1


class WatchedLayer(Model):
    """The output of a layer, or of the activation function after it, over a whole training batch."""

    name: Name
    kind: Literal["layer", "relu", "tanh", "sigmoid"]
    mean: Column
    std: Column
    idle: Column
    """For relu, the share of units that are zero for the whole batch. For tanh and sigmoid, the share of values beyond
    0.97 of their range. None for a layer.
    """


class Telemetry(Model):
    """The internals of a training at log-spaced updates."""

    format: Literal["tunefleet.telemetry/1"] = "tunefleet.telemetry/1"
    updates: int = Field(ge=0)
    """The total number of weight updates."""
    step: list[Annotated[int, Field(ge=0)]] = Field(max_length=MAX_RECORDS)
    """The watched updates, counted from 0."""
    epoch: list[Annotated[int, Field(ge=0)] | None] = Field(max_length=MAX_RECORDS)
    """The trial's step (epoch) at each watched update; None outside `trial.epochs`."""
    samples: list[Annotated[int, Field(ge=0)] | None] = Field(max_length=MAX_RECORDS)
    """The number of samples in the batch."""
    grad_norm: Column
    """The norm of all gradients together, before any clipping."""
    tensors: list[WatchedTensor] = Field(max_length=MAX_TENSORS)
    layers: list[WatchedLayer] = Field(max_length=MAX_LAYERS)
    notes: list[Annotated[PlainText, StringConstraints(max_length=500)]] = Field(default=[], max_length=20)
    """The parts that could not be watched, with the reasons."""

    @model_validator(mode="after")
    def _columns_are_of_one_length(self) -> Self:
        lengths = {len(self.epoch), len(self.samples), len(self.grad_norm)}
        lengths |= {len(tensor.update_ratio) for tensor in self.tensors}
        lengths |= {len(column) for layer in self.layers for column in (layer.mean, layer.std, layer.idle)}
        if lengths != {len(self.step)}:
            raise ValueError(f"every column needs one number for each of the {len(self.step)} watched updates")
        return self

    @property
    def weights(self) -> list[WatchedTensor]:
        """The matrices and filters; all tensors if the model has neither."""
        return [tensor for tensor in self.tensors if tensor.is_weight] or self.tensors

    def settled(self) -> list[int]:
        """Return the indices of the updates that judge a training: those of its second and third epoch.

        By then the weights have left their initialisation, and schedules have not ended. Without these epochs, the
        later half of the watched updates counts.
        """
        settled = [place for place, epoch in enumerate(self.epoch) if epoch in (1, 2)]
        return settled or list(range(len(self.step) // 2, len(self.step)))

    def typical(self, column: list[float | None]) -> float | None:
        """Return the median of a column over the `settled` updates; None if it has no number there."""
        numbers = [value for place in self.settled() if (value := column[place]) is not None]
        return median(numbers) if numbers else None

    def typical_ratio(self) -> float | None:
        """Return the median over the weights of their typical update-to-weight ratios; compare it with RATIO_BAND."""
        ratios = [ratio for tensor in self.weights if (ratio := self.typical(tensor.update_ratio)) is not None]
        return median(ratios) if ratios else None

    def opening_ratio(self) -> float | None:
        """Return the median ratio of the weights over the first epoch's watched updates; compare it with HOT_START."""
        opening = [place for place, epoch in enumerate(self.epoch) if epoch == 0]
        ratios = [
            ratio for tensor in self.weights for place in opening if (ratio := tensor.update_ratio[place]) is not None
        ]
        return median(ratios) if ratios else None
