"""The networks of the built-in tasks: a multilayer perceptron, and a convolutional network for signals and pictures.

Weights are initialised as He et al. 2015 (arXiv:1502.01852) derive for ReLU, biases with zero. The last layer starts
small, so that the first loss is close to ln(classes), that of a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from pydantic import Field
from torch import Tensor, nn

from tunefleet.catalogue.tasks import Activation, Architecture, NetworkArguments

ACTIVATIONS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
)
MAX_GROWTH = 4  # channels double with each pooling, up to this factor: later doublings cost more than they give
MIN_POOLED = 4  # a side shorter than this is not halved again
HEAD_GAIN = 0.1  # of the last layer's initial weights, against keeping the variance


class ModelConfig(NetworkArguments):
    """Everything that the shape of the network depends on."""

    kind: Architecture
    input_shape: tuple[int, ...] = Field(min_length=2, max_length=3)
    """(channels, length) or (channels, height, width)."""
    classes: int = Field(ge=2)


class Residual(nn.Module):
    """shortcut(x) + branch(x) (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, branch: nn.Sequential, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the sum for inputs (n, ...), in the shape of the branch."""
        return self.shortcut(inputs) + self.branch(inputs)  # type: ignore[no-any-return]


def build_model(config: ModelConfig) -> nn.Module:
    """Return a fresh network from inputs (n, *input_shape) to logits (n, classes), drawn from torch's generator."""
    model = nn.Sequential(*(_mlp(config) if config.kind == "mlp" else _cnn(config)))
    _initialise(model, config.activation)
    return model


def _mlp(config: ModelConfig) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Flatten()]
    n_inputs = math.prod(config.input_shape)
    for block in range(config.depth):
        layers += _hidden(config, _weights(config, n_inputs, n_outputs=config.width, n_sides=0), is_first=block == 0)
        n_inputs = config.width
    return [*layers, *_last_activation(config, n_inputs, n_sides=0), nn.Linear(n_inputs, config.classes)]


def _cnn(config: ModelConfig) -> list[nn.Module]:
    """Return blocks of convolution, normalisation and activation with pooling between them, and an average."""
    channels, *sides = config.input_shape
    n_sides = len(sides)
    pool: type[nn.Module] = nn.MaxPool2d if n_sides == 2 else nn.MaxPool1d
    layers: list[nn.Module] = []
    n_pools = 0
    for block in range(config.depth):
        if block > 0 and min(sides) >= MIN_POOLED:
            layers.append(pool(2))
            sides = [side // 2 for side in sides]
            n_pools += 1
        n_channels = config.width * min(2**n_pools, MAX_GROWTH)
        layers += _hidden(
            config, _weights(config, channels, n_outputs=n_channels, n_sides=n_sides), is_first=block == 0
        )
        channels = n_channels
    average: nn.Module = nn.AdaptiveAvgPool2d(1) if n_sides == 2 else nn.AdaptiveAvgPool1d(1)
    head = [average, nn.Flatten(), *_dropout(config), nn.Linear(channels, config.classes)]
    return [*layers, *_last_activation(config, channels, n_sides=n_sides), *head]


def _hidden(config: ModelConfig, weights: nn.Linear | nn.Conv1d | nn.Conv2d, *, is_first: bool) -> list[nn.Module]:
    """Return a hidden layer: its weights, normalisation and activation, or a residual block around the weights.

    The block is normalisation, activation, weights, normalisation. Its last scale begins at zero, so that a network of
    any depth begins as a shallow one (Goyal et al. 2017, arXiv:1706.02677, section 5.1). The normalisation after the
    weights is that of Han et al. 2017 (arXiv:1610.02915): before the activation a scale of zero would have no gradient
    under ReLU. Without normalisation the weights themselves begin at zero.
    """
    n_inputs, n_outputs, n_sides = weights.weight.shape[1], weights.weight.shape[0], weights.weight.dim() - 2
    in_mlp = _dropout(config) if n_sides == 0 else []
    if not config.residual:
        return [weights, *_norm(config, n_outputs, n_sides=n_sides), ACTIVATIONS[config.activation](), *in_mlp]
    if is_first:
        return [weights]
    before = [*_norm(config, n_inputs, n_sides=n_sides), ACTIVATIONS[config.activation](), *in_mlp]
    branch = nn.Sequential(*before, weights, *_norm(config, n_outputs, n_sides=n_sides))
    fits = n_inputs == n_outputs
    return [
        Residual(
            branch,
            nn.Identity() if fits else _weights(config, n_inputs, n_outputs=n_outputs, n_sides=n_sides, window=1),
        )
    ]


def _last_activation(config: ModelConfig, n: int, *, n_sides: int) -> list[nn.Module]:
    """Return the normalisation and the activation between residual blocks and the head."""
    if not config.residual:
        return []
    return [*_norm(config, n, n_sides=n_sides), ACTIVATIONS[config.activation]()]


def _weights(
    config: ModelConfig, n_inputs: int, *, n_outputs: int, n_sides: int, window: int | None = None
) -> nn.Linear | nn.Conv1d | nn.Conv2d:
    """Return a linear layer for 0 sides, or a convolution for 1 side (signal) or 2 (picture) that keeps lengths."""
    has_bias = config.normalization == "none"
    if n_sides == 0:
        return nn.Linear(n_inputs, n_outputs, bias=has_bias)
    # A signal has fewer samples than a picture has pixels, so that a wider window costs little there.
    size = window or (3 if n_sides == 2 else 5)
    convolution = nn.Conv2d if n_sides == 2 else nn.Conv1d
    return convolution(n_inputs, n_outputs, size, padding=size // 2, bias=has_bias)


def _norm(config: ModelConfig, n: int, *, n_sides: int) -> list[nn.Module]:
    if config.normalization == "none":
        return []
    if config.normalization == "batch":
        return [nn.BatchNorm2d(n) if n_sides == 2 else nn.BatchNorm1d(n)]
    return [nn.GroupNorm(1, n) if n_sides else nn.LayerNorm(n)]  # one group: the layer norm of a picture


def _dropout(config: ModelConfig) -> list[nn.Module]:
    return [nn.Dropout(config.dropout)] if config.dropout > 0 else []


def _initialise(model: nn.Sequential, activation: Activation) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="tanh" if activation == "tanh" else "relu")
            _zero(layer.bias)
    for block in model.modules():
        if isinstance(block, Residual):
            _zero(block.branch[-1].get_parameter("weight"))  # of the last normalisation, or of the weights
    head = model[-1]
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=HEAD_GAIN / math.sqrt(head.in_features))


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)
