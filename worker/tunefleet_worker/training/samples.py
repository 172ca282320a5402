"""What a model is trained and judged on."""

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
        """How many samples there are."""
        return len(self.labels)

    def first(self, n: int | None) -> Samples:
        """The first n; None: all of them."""
        return Samples(self.inputs[:n], self.labels[:n])

    def drawn(self, n: int) -> Samples:
        """Any n of them, or all where there are fewer: the same ones each time, and no global generator is used."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))[:n].to(self.labels.device)
        return Samples(self.inputs[order], self.labels[order])

    def to(self, device: str | torch.device) -> Samples:
        """The same samples on a device."""
        return Samples(self.inputs.to(device), self.labels.to(device))
