"""Mixup (Zhang et al. 2018, arXiv:1710.09412): training on lines between pairs of samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn import functional


@dataclass(frozen=True)
class Targets:
    """What a batch should be: `share` of each sample is of the class in `first`, the rest of that in `second`."""

    first: Tensor
    second: Tensor
    share: float

    def loss(self, logits: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """The mean cross-entropy against the mixed targets, a scalar."""
        one = functional.cross_entropy(logits, self.first, label_smoothing=label_smoothing)
        if self.share == 1.0:
            return one
        other = functional.cross_entropy(logits, self.second, label_smoothing=label_smoothing)
        return self.share * one + (1.0 - self.share) * other

    @property
    def majority(self) -> Tensor:
        """The class that each sample is mostly of, int64 (n,)."""
        return self.first if self.share >= 0.5 else self.second


def mix(inputs: Tensor, labels: Tensor, *, alpha: float) -> tuple[Tensor, Targets]:
    """Inputs (n, ...) as lam x_i + (1 - lam) x_j with a random j for each i, and their targets.

    lam is drawn from Beta(alpha, alpha) once for the batch, as in the paper's code. It and the pairs come from torch's
    global generator of the CPU, on any device, so that a checkpoint holds them.

    Args:
        inputs: float (n, ...).
        labels: int64 (n,).
        alpha: above 0; the paper's best on ImageNet are 0.1 to 0.4, on CIFAR 1.
    """
    share = float(Beta(alpha, alpha).sample())
    partner = torch.randperm(len(labels)).to(labels.device)
    return torch.lerp(inputs[partner], inputs, share), Targets(labels, labels[partner], share)
