"""Mixup (Zhang et al. 2018, arXiv:1710.09412): training on interpolations of pairs of samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn import functional


@dataclass(frozen=True)
class Targets:
    """The targets of a mixed batch: `share` of each sample is of the class in `first`, the rest of that in `second`."""

    first: Tensor
    second: Tensor
    share: float

    def loss(self, logits: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy with the mixed targets, a scalar."""
        one = functional.cross_entropy(logits, self.first, label_smoothing=label_smoothing)
        if self.share == 1.0:
            return one
        other = functional.cross_entropy(logits, self.second, label_smoothing=label_smoothing)
        return self.share * one + (1.0 - self.share) * other

    @property
    def majority(self) -> Tensor:
        """The class with the larger share of each sample, int64 (n,)."""
        return self.first if self.share >= 0.5 else self.second


def mix(inputs: Tensor, labels: Tensor, *, alpha: float) -> tuple[Tensor, Targets]:
    """Return inputs lam x_i + (1 - lam) x_j (n, ...) with a random j for each i, and their targets.

    lam is drawn from Beta(alpha, alpha) once for the batch, as in the paper's code. lam and the pairs come from torch's
    global CPU generator on any device, so that a checkpoint holds its state.

    Args:
        inputs: float (n, ...).
        labels: int64 (n,).
        alpha: above 0; the paper's best values are 0.1 to 0.4 on ImageNet, and 1 on CIFAR.
    """
    share = float(Beta(alpha, alpha).sample())
    partner = torch.randperm(len(labels)).to(labels.device)
    return torch.lerp(inputs[partner], inputs, share), Targets(labels, labels[partner], share)
