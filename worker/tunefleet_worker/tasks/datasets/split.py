"""The split of a built-in data set, as tensors of positions. `tunefleet.data.split` computes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tunefleet.data.split import split_indices as split_positions
from tunefleet.study.spec import DataSpec


@dataclass(frozen=True)
class Split:
    """Positions of samples, each int64 (n,); no position is in two parts."""

    train: Tensor
    validation: Tensor
    test: Tensor


def split_indices(labels: Tensor, spec: DataSpec, *, test: float = 0.0) -> Split:
    """Divide samples with the labels int64 (n,) by the spec and its seed, without a global generator.

    Raises:
        SplitError: the validation part would be empty, or the training part smaller than the number of classes; or the
            spec divides by groups or times, which no built-in data set has.
    """
    parts = split_positions(labels.numpy(), spec, test=test)
    return Split(*(torch.from_numpy(part) for part in (parts.train, parts.validation, parts.sealed)))
