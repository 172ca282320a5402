"""L1 by proximal steps: weights that are exactly zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def soft_threshold(weights: Tensor, by: float) -> Tensor:
    """sign(w) max(|w| - by, 0): the proximal operator of by * |w|_1 (Parikh and Boyd 2014, section 6.5.2)."""
    return torch.sign(weights) * torch.clamp(weights.abs() - by, min=0.0)


class ProximalL1:
    """Minimises loss + strength * |w|_1 as proximal gradient descent does: call `step()` after the optimizer's.

    The gradient of the penalty is left out of the loss: a weight that follows it jumps about zero, and never is zero.
    Each step shrinks the weights by the rate of their group times `strength`. Biases and normalisations, all that has
    one dimension, are left alone. Under Adam and its kind the step is the plain one, not scaled by their moments, as
    AdamW's decay is not.

    Args:
        optimizer: whose parameters are shrunk.
        strength: of the penalty, lambda.
    """

    def __init__(self, optimizer: Optimizer, strength: float) -> None:
        self._optimizer = optimizer
        self.strength = strength

    @torch.no_grad()
    def step(self) -> None:
        """Shrink all weights once."""
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.dim() > 1:
                    parameter.copy_(soft_threshold(parameter, group["lr"] * self.strength))


def share_of_zeros(model: nn.Module) -> float:
    """Which share of the weights, biases and normalisations not counted, is exactly zero."""
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    n_zeros = sum(int((weight == 0).sum()) for weight in weights)
    return n_zeros / max(1, sum(weight.numel() for weight in weights))
