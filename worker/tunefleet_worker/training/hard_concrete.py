"""L0 regularisation by hard-concrete gates: units that are exactly off, and the smaller network without them.

Louizos, Welling and Kingma 2018 (arXiv:1712.01312). A gate multiplies one unit, and stands for the g weights behind it:

    u ~ U(0, 1),  s = sigmoid((log u - log(1 - u) + log_alpha) / BETA)             equation 10
    z = min(1, max(0, s (ZETA - GAMMA) + GAMMA))                                    equation 11
    P(z != 0) = sigmoid(log_alpha - BETA log(-GAMMA / ZETA))                        equation 12: the penalty
    z in evaluation = min(1, max(0, sigmoid(log_alpha) (ZETA - GAMMA) + GAMMA))     equation 13

The penalty counts weights and not gates (section 2.4, group sparsity): the sum over all gates of g P(z != 0). The loss
is the mean cross-entropy + strength * penalty; the paper's strength is lambda / N for N training samples.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

BETA, GAMMA, ZETA = 2.0 / 3.0, -0.1, 1.1  # the paper's, section 4
OPEN = 2.0  # log_alpha to begin with: a gate that is open with P = .98, so that a unit is learned before it is judged
SPREAD = 1e-2  # of log_alpha at the beginning, as in the authors' code
EPSILON = 1e-6

ELEMENTWISE = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Dropout, nn.Identity)


class HardConcrete(nn.Module):
    """Multiplies each of the last dimension's n units by a gate in [0, 1]: random in training, fixed in evaluation.

    Args:
        n: how many units, from 1.
        weights: how many weights go with each unit when its gate is off, from 1; for the inputs of a linear layer that
            is how many outputs it has.
    """

    def __init__(self, n: int, *, weights: int = 1) -> None:
        super().__init__()
        self.weights = weights
        self.log_alpha = nn.Parameter(torch.empty(n).normal_(OPEN, SPREAD))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (batch, n), gated; each sample draws gates of its own."""
        return inputs * (self.sample(torch.rand_like(inputs)) if self.training else self.gates())

    def sample(self, uniform: Tensor) -> Tensor:
        """Gates (..., n) from uniform numbers of that shape: equations 10 and 11."""
        u = uniform.clamp(EPSILON, 1.0 - EPSILON)
        s = torch.sigmoid((u.log() - (1.0 - u).log() + self.log_alpha) / BETA)
        return _stretched(s)

    def gates(self) -> Tensor:
        """The gates in evaluation, (n,): equation 13."""
        return _stretched(torch.sigmoid(self.log_alpha))

    def penalty(self) -> Tensor:
        """The expected number of weights that are not off, a scalar: equation 12 for each weight."""
        return self.weights * torch.sigmoid(self.log_alpha - BETA * math.log(-GAMMA / ZETA)).sum()


class Select(nn.Module):
    """The inputs that a pruned network still looks at."""

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (batch, n) to (batch, kept)."""
        return inputs.index_select(-1, self.index)


def gated(model: nn.Sequential) -> nn.Sequential:
    """The same network, the very same layers, with a gate before the inputs of each linear layer."""
    layers: list[nn.Module] = []
    for layer in model:
        if isinstance(layer, nn.Linear):
            gate = HardConcrete(layer.in_features, weights=layer.out_features)
            layers.append(gate.to(layer.weight.device))
        layers.append(layer)
    return nn.Sequential(*layers)


def penalty(model: nn.Module) -> Tensor:
    """The expected number of weights behind open gates, a scalar: add strength times it to the loss."""
    counts = [module.penalty() for module in model.modules() if isinstance(module, HardConcrete)]
    return torch.stack(counts).sum() if counts else torch.zeros(())


def open_units(model: nn.Module) -> list[int]:
    """How many units each gate lets through in evaluation, from the first layer to the last: the pruned widths."""
    return [int((module.gates() > 0).sum()) for module in model.modules() if isinstance(module, HardConcrete)]


@torch.no_grad()
def pruned(model: nn.Sequential) -> nn.Sequential:
    """The smaller network that computes what a gated one computes in evaluation, without gates.

    A unit whose gate is off goes with its row, its column and its normalisation; the value of an open gate is
    multiplied into the columns behind it. Inputs that are off are left out by a `Select`. The gated model stays as it
    was.

    Args:
        model: what `gated` makes of layers of nn.Linear, nn.BatchNorm1d, nn.Flatten, activations and dropout.

    Raises:
        ValueError: a layer between two gates mixes units, as LayerNorm does, so that none can be taken out.
    """
    gates = [layer for layer in model if isinstance(layer, HardConcrete)]
    kept = [torch.nonzero(gate.gates() > 0).flatten() for gate in gates]
    behind = [*kept[1:], None]  # of the outputs of each linear layer, the units that the next gate lets through
    layers: list[nn.Module] = []
    k = -1
    for layer in model:
        if isinstance(layer, HardConcrete):
            k += 1
            if k == 0:
                layers.append(Select(kept[0]))
        elif isinstance(layer, nn.Linear):
            columns = layer.weight[:, kept[k]] * gates[k].gates()[kept[k]]
            layers.append(_linear(layer, columns, rows=behind[k]))
        else:
            layers.append(_narrowed(layer, behind[k] if k >= 0 else None))
    return nn.Sequential(*layers).train(model.training)


def _linear(layer: nn.Linear, weight: Tensor, *, rows: Tensor | None) -> nn.Linear:
    """A copy of a linear layer with some rows of another weight, and of its bias; with all when rows is None."""
    made = copy.deepcopy(layer)
    made.weight = nn.Parameter(weight if rows is None else weight[rows])
    if rows is not None and layer.bias is not None:
        made.bias = nn.Parameter(layer.bias[rows])
    made.out_features, made.in_features = made.weight.shape
    return made


def _narrowed(layer: nn.Module, units: Tensor | None) -> nn.Module:
    """A copy of what stands between linear layers, for some of its units; for all when units is None."""
    made = copy.deepcopy(layer)
    if units is None or isinstance(layer, ELEMENTWISE):
        return made
    if not isinstance(made, nn.BatchNorm1d):
        raise ValueError(
            f"no unit can be taken out of {layer}, which mixes them; prune before adding it, or without it"
        )
    made.num_features = len(units)
    for tensors in (made._parameters, made._buffers):
        for name, value in tensors.items():
            if value is not None and value.dim() == 1:
                part = value[units].clone()
                tensors[name] = nn.Parameter(part) if isinstance(value, nn.Parameter) else part  # type: ignore[assignment]
    return made


def _stretched(s: Tensor) -> Tensor:
    return (s * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)
