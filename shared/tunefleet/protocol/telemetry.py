"""What `trial.watch` saw of a training: plain columns over the watched updates, of a bounded size; a message, too."""

from __future__ import annotations

from statistics import median
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from tunefleet.model import Model
from tunefleet.plain import PlainText

TELEMETRY = "telemetry.json"
"""The name of the artifact."""

FORMAT = "tunefleet.protocol.telemetry/1"
MAX_BYTES = 4_000_000
"""More than the largest telemetry that a watch writes: 200 tensors and 200 layers at 256 updates."""

MAX_RECORDS = 256  # four to a doubling reach 2^64 updates
MAX_TENSORS = 200
MAX_LAYERS = 200
MAX_NAME = 200  # characters

RATIO_BAND = (1e-4, 3e-2)
"""Update-to-weight ratios between which short trainings of small networks learn, in their second and third epoch."""

HOT_START = 6e-2
"""A ratio of the first epoch above which a training is spoiled at once. Later its ratios may lie in the band again: the
weights have grown, or the units are dead. Healthy ones had at most 3.2e-2, spoiled ones at least 1e-1 (digits, small
networks with relu, tanh, gelu, with and without batch normalisation, SGD with momentum and Adam).
"""

UPDATE_RATIO, GRAD_NORM = "watch.update_ratio", "watch.grad_norm"
DEAD_UNITS, SATURATED_UNITS = "watch.dead_units", "watch.saturated_units"
INPUT_SCALE, INPUT_SHIFT = "watch.input_scale", "watch.input_shift"
"""The root mean square of what the first layer is given in training, and how far validation's inputs are from
training's: the difference of the means in deviations of training's, or (f - 1) / 2 where the deviations differ by a
factor f, whichever is more.
"""

VAL_SEEN = "watch.val_seen"
"""The share of validation's samples that training has seen, beyond what equal samples in validation explain."""

SUMMARIES = (UPDATE_RATIO, GRAD_NORM, DEAD_UNITS, SATURATED_UNITS, INPUT_SCALE, INPUT_SHIFT, VAL_SEEN)
"""The metrics that a watch adds to a trial's reports."""

Name = Annotated[PlainText, StringConstraints(max_length=MAX_NAME)]
Column = Annotated[list[float | None], Field(max_length=MAX_RECORDS)]
"""One number for each watched update; None where there was nothing to measure."""


class WatchedTensor(Model):
    """A parameter, or what could not be listed one by one, with the ratio of each watched update."""

    name: Name
    shape: tuple[Annotated[int, Field(ge=0)], ...] = Field(max_length=16)
    tensors: int = Field(default=1, ge=1)
    """How many it stands for; the ratio of several is that of all their elements together."""
    update_ratio: Column
    """The norm of the step that was applied, divided by the norm of the tensor before it; None where that is 0."""

    @property
    def is_weight(self) -> bool:
        """Whether it is a matrix or a filter; biases begin at zero, so that their ratios say little."""
        return len(self.shape) > 1


class WatchedLayer(Model):
    """The output of a layer, or of an activation function behind it, over a whole batch of training."""

    name: Name
    kind: Literal["layer", "relu", "tanh", "sigmoid"]
    mean: Column
    std: Column
    idle: Column
    """Of relu the share of units that are zero for the whole batch; of tanh and sigmoid the share of values beyond
    0.97 of their range; None of a layer.
    """


class Telemetry(Model):
    """How a training went inside, at log-spaced updates."""

    format: Literal["tunefleet.protocol.telemetry/1"] = "tunefleet.protocol.telemetry/1"
    updates: int = Field(ge=0)
    """How many updates of the weights there were in all."""
    step: list[Annotated[int, Field(ge=0)]] = Field(max_length=MAX_RECORDS)
    """The watched updates, counted from 0."""
    epoch: list[Annotated[int, Field(ge=0)] | None] = Field(max_length=MAX_RECORDS)
    """The trial's step (epoch) in which each was; None outside of `trial.epochs`."""
    samples: list[Annotated[int, Field(ge=0)] | None] = Field(max_length=MAX_RECORDS)
    """How many samples the batch had."""
    grad_norm: Column
    """The norm of all gradients together as backward left them, before any clipping."""
    tensors: list[WatchedTensor] = Field(max_length=MAX_TENSORS)
    layers: list[WatchedLayer] = Field(max_length=MAX_LAYERS)
    notes: list[Annotated[PlainText, StringConstraints(max_length=500)]] = Field(default=[], max_length=20)
    """What could not be watched, and why."""

    @model_validator(mode="after")
    def _columns_are_of_one_length(self) -> Self:
        lengths = {len(self.epoch), len(self.samples), len(self.grad_norm)}
        lengths |= {len(tensor.update_ratio) for tensor in self.tensors}
        lengths |= {len(column) for layer in self.layers for column in (layer.mean, layer.std, layer.idle)}
        if lengths != {len(self.step)}:
            raise ValueError(f"every column has one number for each of the {len(self.step)} watched updates")
        return self

    @property
    def weights(self) -> list[WatchedTensor]:
        """The matrices and filters; every tensor of a model that has neither."""
        return [tensor for tensor in self.tensors if tensor.is_weight] or self.tensors

    def settled(self) -> list[int]:
        """The places of the updates by which a training is judged: those of its second and third epoch.

        By then the weights have left their initialisation, and schedules have not yet ended. A
        training without them is judged by the later half of what was watched.
        """
        settled = [place for place, epoch in enumerate(self.epoch) if epoch in (1, 2)]
        return settled or list(range(len(self.step) // 2, len(self.step)))

    def typical(self, column: list[float | None]) -> float | None:
        """The median of a column over the `settled` updates; None when it has no number there."""
        numbers = [value for place in self.settled() if (value := column[place]) is not None]
        return median(numbers) if numbers else None

    def typical_ratio(self) -> float | None:
        """The median over the weights of their typical update-to-weight ratios; RATIO_BAND is for it."""
        ratios = [ratio for tensor in self.weights if (ratio := self.typical(tensor.update_ratio)) is not None]
        return median(ratios) if ratios else None

    def opening_ratio(self) -> float | None:
        """The median ratio of the weights over the watched updates of the first epoch; HOT_START is for it."""
        opening = [place for place, epoch in enumerate(self.epoch) if epoch == 0]
        ratios = [
            ratio for tensor in self.weights for place in opening if (ratio := tensor.update_ratio[place]) is not None
        ]
        return median(ratios) if ratios else None
