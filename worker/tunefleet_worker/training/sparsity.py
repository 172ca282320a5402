"""L1 regularisation by proximal steps, which sets weights exactly to zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def soft_threshold(weights: Tensor, by: float) -> Tensor:
    """Return sign(w) max(|w| - by, 0): the proximal operator of by * |w|_1 (Parikh and Boyd 2014, section 6.5.2)."""
    return torch.sign(weights) * torch.clamp(weights.abs() - by, min=0.0)


class ProximalL1:
    """Minimises loss + strength * |w|_1 by proximal gradient descent: call `step()` after the optimizer's step.

    The penalty is not part of the loss: weights that follow its gradient oscillate around zero. Each step shrinks the
    weights by their group's rate times `strength`. Parameters with one dimension (biases and normalisations) do not
    shrink. As with AdamW's decay, adaptive optimizers do not scale the step by their moments.

    Args:
        optimizer: the optimizer of the parameters to shrink.
        strength: the strength lambda of the penalty.
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
    """Return the share of weights that are exactly zero, without biases and normalisations."""
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    n_zeros = sum(int((weight == 0).sum()) for weight in weights)
    return n_zeros / max(1, sum(weight.numel() for weight in weights))
