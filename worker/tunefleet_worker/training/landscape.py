"""The loss landscape on a plane around trained weights: the width of a minimum, and the roughness around it.

Li et al. 2018 (arXiv:1712.09913, section 4): f(a, b) = L(w + a d1 + b d2), with random directions. Each
filter of a direction is scaled to the norm of the weights' filter, d_ij <- d_ij / ||d_ij|| * ||w_ij||; biases and
normalisations do not move. Without this scaling, equivalent networks look different: a ReLU layer may be ten times as
large and the next a tenth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from tunefleet_worker.training.samples import Samples


@dataclass(frozen=True)
class Landscape:
    """Losses on a square around the weights.

    Attributes:
        offsets: (n,) from -extent to extent, for both directions.
        losses: (n, n), the mean cross-entropy in nats at each pair of offsets.
    """

    offsets: Tensor
    losses: Tensor

    @property
    def roughness(self) -> float:
        """The total variation over rows and columns, relative to that of a surface with one valley per row.

        Such a row falls to its minimum and rises again. 1 is the smoothest; 2 is twice the variation.
        """
        variation, least = 0.0, 0.0
        for lines in (self.losses, self.losses.T):
            variation += lines.diff(dim=1).abs().sum().item()
            least += (lines[:, 0] + lines[:, -1] - 2 * lines.amin(1)).sum().item()
        return variation / least if least > 0 else 1.0

    @property
    def n_minima(self) -> int:
        """The number of inner points that are lower than their eight neighbours."""
        padded = functional.pad(self.losses, (1, 1, 1, 1), value=-torch.inf)
        around = functional.unfold(padded[None, None], 3).view(9, *self.losses.shape)
        others = torch.cat([around[:4], around[5:]])
        return int((self.losses < others.amin(0)).sum())


def loss_plane(model: nn.Module, samples: Samples, *, n: int = 25, extent: float = 1.0, seed: int = 0) -> Landscape:
    """Evaluate the loss at n x n points around the weights, in evaluation mode; the model is not changed.

    Args:
        model: the model; parameters of two or more dimensions move, with filters in the first dimension.
        samples: the samples; 1,000 are enough.
        n: points per direction, odd so that the weights are the middle; 25 takes 625 evaluations.
        extent: the largest offset, in norms of the weights.
        seed: seed of the directions.

    Raises:
        ValueError: n is even or below 3.
    """
    if n < 3 or n % 2 == 0:
        raise ValueError(f"n is {n}; it must be odd and at least 3, so that the weights are the middle")
    generator = torch.Generator().manual_seed(seed)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    first, second = (_direction(weights, generator) for _ in range(2))
    offsets = torch.linspace(-extent, extent, n)
    losses = torch.empty(n, n)
    was_training = model.training
    model.eval()
    try:
        for i, a in enumerate(offsets.tolist()):
            for j, b in enumerate(offsets.tolist()):
                moved = {name: w + a * first[name] + b * second[name] for name, w in weights.items()}
                losses[i, j] = _loss(model, moved, samples)
    finally:
        model.train(was_training)
    return Landscape(offsets, losses)


def _direction(weights: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    return {name: _scaled_direction(weight, generator) for name, weight in weights.items()}


def _scaled_direction(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random direction with the norm of the weight's filters; zero for biases and normalisations."""
    if weight.dim() < 2:
        return torch.zeros_like(weight)
    drawn = torch.randn(weight.shape, generator=generator).to(weight).flatten(1)
    norms = weight.flatten(1).norm(dim=1, keepdim=True)
    direction: Tensor = drawn / drawn.norm(dim=1, keepdim=True) * norms
    return direction.view_as(weight)


@torch.no_grad()
def _loss(model: nn.Module, weights: dict[str, Tensor], samples: Samples) -> float:
    logits: Tensor = functional_call(model, weights, (samples.inputs,))
    return functional.cross_entropy(logits, samples.labels).item()
