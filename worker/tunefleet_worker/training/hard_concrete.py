"""L0 regularisation by hard-concrete gates: units that are exactly zero, and the smaller network without them.

Louizos, Welling and Kingma 2018 (arXiv:1712.01312). A gate multiplies one unit with g outgoing weights:

    u ~ U(0, 1),  s = sigmoid((log u - log(1 - u) + log_alpha) / BETA)             equation 10
    z = min(1, max(0, s (ZETA - GAMMA) + GAMMA))                                    equation 11
    P(z != 0) = sigmoid(log_alpha - BETA log(-GAMMA / ZETA))                        equation 12: the penalty
    z in evaluation = min(1, max(0, sigmoid(log_alpha) (ZETA - GAMMA) + GAMMA))     equation 13

The penalty counts weights, not gates (section 2.4, group sparsity): the sum over all gates of g P(z != 0). The loss is
the mean cross-entropy + strength * penalty; the paper's strength is lambda / N for N training samples.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

BETA, GAMMA, ZETA = 2.0 / 3.0, -0.1, 1.1  # the paper's, section 4
OPEN = 2.0  # initial log_alpha: gates open with P = .98, so that units learn before they are penalised
SPREAD = 1e-2  # standard deviation of the initial log_alpha, as in the authors' code
EPSILON = 1e-6

ELEMENTWISE = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Dropout, nn.Identity)


class HardConcrete(nn.Module):
    """Multiplies each of the last dimension's n units by a gate in [0, 1]: random in training, fixed in evaluation.

    Args:
        n: number of units, at least 1.
        weights: number of weights that are removed with a unit, at least 1; for the inputs of a linear layer the number
            of its outputs.
    """

    def __init__(self, n: int, *, weights: int = 1) -> None:
        super().__init__()
        self.weights = weights
        self.log_alpha = nn.Parameter(torch.empty(n).normal_(OPEN, SPREAD))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return gated inputs (batch, n); each sample draws its own gates."""
        return inputs * (self.sample(torch.rand_like(inputs)) if self.training else self.gates())

    def sample(self, uniform: Tensor) -> Tensor:
        """Return gates (..., n) from uniform numbers of that shape: equations 10 and 11."""
        u = uniform.clamp(EPSILON, 1.0 - EPSILON)
        s = torch.sigmoid((u.log() - (1.0 - u).log() + self.log_alpha) / BETA)
        return _stretched(s)

    def gates(self) -> Tensor:
        """Return the gates in evaluation, (n,): equation 13."""
        return _stretched(torch.sigmoid(self.log_alpha))

    def penalty(self) -> Tensor:
        """Return the expected number of nonzero weights, a scalar: equation 12 for each weight."""
        return self.weights * torch.sigmoid(self.log_alpha - BETA * math.log(-GAMMA / ZETA)).sum()


class Select(nn.Module):
    """A selection of the inputs that a pruned network uses."""

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs (batch, n) to (batch, kept)."""
        return inputs.index_select(-1, self.index)


def gated(model: nn.Sequential) -> nn.Sequential:
    """Return a network of the same layer objects, with a gate before each linear layer."""
    layers: list[nn.Module] = []
    for layer in model:
        if isinstance(layer, nn.Linear):
            gate = HardConcrete(layer.in_features, weights=layer.out_features)
            layers.append(gate.to(layer.weight.device))
        layers.append(layer)
    return nn.Sequential(*layers)


def penalty(model: nn.Module) -> Tensor:
    """Return the expected number of weights of open gates, a scalar; add strength times it to the loss."""
    counts = [module.penalty() for module in model.modules() if isinstance(module, HardConcrete)]
    return torch.stack(counts).sum() if counts else torch.zeros(())


def open_units(model: nn.Module) -> list[int]:
    """Return the number of open units of each gate in evaluation, from the first layer on: the pruned widths."""
    return [int((module.gates() > 0).sum()) for module in model.modules() if isinstance(module, HardConcrete)]


@torch.no_grad()
def pruned(model: nn.Sequential) -> nn.Sequential:
    """Return the smaller network without gates that computes the same as a gated one in evaluation.

    A closed gate removes its unit: row, column and normalisation. The value of an open gate is multiplied into the
    columns of the next layer. A `Select` removes closed inputs. The gated model is not changed.

    Args:
        model: a result of `gated` with nn.Linear, nn.BatchNorm1d, nn.Flatten, activations and dropout.

    Raises:
        ValueError: a layer between two gates mixes units, as LayerNorm does, so no unit can be removed.
    """
    gates = [layer for layer in model if isinstance(layer, HardConcrete)]
    kept = [torch.nonzero(gate.gates() > 0).flatten() for gate in gates]
    outputs = [*kept[1:], None]  # for each linear layer, its outputs that the next gate keeps
    layers: list[nn.Module] = []
    k = -1
    for layer in model:
        if isinstance(layer, HardConcrete):
            k += 1
            if k == 0:
                layers.append(Select(kept[0]))
        elif isinstance(layer, nn.Linear):
            columns = layer.weight[:, kept[k]] * gates[k].gates()[kept[k]]
            layers.append(_linear(layer, columns, rows=outputs[k]))
        else:
            layers.append(_narrowed(layer, outputs[k] if k >= 0 else None))
    return nn.Sequential(*layers).train(model.training)


def _linear(layer: nn.Linear, weight: Tensor, *, rows: Tensor | None) -> nn.Linear:
    """Return a copy of a linear layer with the given rows of another weight, and of its bias; None: all rows."""
    made = copy.deepcopy(layer)
    made.weight = nn.Parameter(weight if rows is None else weight[rows])
    if rows is not None and layer.bias is not None:
        made.bias = nn.Parameter(layer.bias[rows])
    made.out_features, made.in_features = made.weight.shape
    return made


def _narrowed(layer: nn.Module, units: Tensor | None) -> nn.Module:
    """Return a copy of a layer between linear layers for some of its units; None: all units."""
    made = copy.deepcopy(layer)
    if units is None or isinstance(layer, ELEMENTWISE):
        return made
    if not isinstance(made, nn.BatchNorm1d):
        raise ValueError(
            f"no unit can be removed from {layer}, because it mixes units; prune a network without this layer"
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
