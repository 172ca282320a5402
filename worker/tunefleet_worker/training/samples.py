"""Samples for training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Inputs, float32 (n, channels, ...), with their labels, int64 (n,)."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def first(self, n: int | None) -> Samples:
        """Return the first n samples; None: all."""
        return Samples(self.inputs[:n], self.labels[:n])

    def drawn(self, n: int) -> Samples:
        """Return n random samples, or all if there are fewer: always the same ones, without a global generator."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))[:n].to(self.labels.device)
        return Samples(self.inputs[order], self.labels[order])

    def to(self, device: str | torch.device) -> Samples:
        """Return the samples on a device."""
        return Samples(self.inputs.to(device), self.labels.to(device))
