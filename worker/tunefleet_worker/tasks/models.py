"""The networks of the built-in tasks: a multilayer perceptron, and a convolutional network for signals and pictures.

Weights are initialised as He et al. 2015 (arXiv:1502.01852) derive for ReLU, biases with zero. The last layer starts
small, so that the first loss is close to ln(classes), that of a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from tunefleet.model import Model

Activation = Literal["relu", "gelu", "silu", "tanh"]
Normalization = Literal["none", "batch", "layer"]

ACTIVATIONS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
)
MAX_GROWTH = 4  # channels double with each pooling, up to this factor: later doublings cost more than they give
SMALLEST_POOLED = 4  # a side shorter than this is not halved again
HEAD_GAIN = 0.1  # of the last layer's initial weights, against keeping the variance


class ModelConfig(Model):
    """Everything that the network's shape depends on."""

    kind: Literal["mlp", "cnn"]
    input_shape: tuple[int, ...] = Field(min_length=2, max_length=3)
    """(channels, length) or (channels, height, width)."""
    classes: int = Field(ge=2)
    depth: int = Field(default=2, ge=1, le=64)
    """Hidden layers of an mlp, convolutions of a cnn."""
    width: int = Field(default=32, ge=1, le=16_384)
    """Units of each hidden layer; channels of the first convolution."""
    activation: Activation = "relu"
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    normalization: Normalization = "batch"


def build_model(config: ModelConfig) -> nn.Module:
    """A fresh network, from inputs (n, *input_shape) to logits (n, classes); draws from torch's global generator."""
    model = nn.Sequential(*(_mlp(config) if config.kind == "mlp" else _cnn(config)))
    _initialise(model, config.activation)
    return model


def _mlp(config: ModelConfig) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Flatten()]
    n_inputs = math.prod(config.input_shape)
    for _ in range(config.depth):
        layers.append(nn.Linear(n_inputs, config.width, bias=config.normalization == "none"))
        if config.normalization != "none":
            layers.append(
                nn.BatchNorm1d(config.width) if config.normalization == "batch" else nn.LayerNorm(config.width)
            )
        layers += [ACTIVATIONS[config.activation](), *_dropout(config)]
        n_inputs = config.width
    return [*layers, nn.Linear(n_inputs, config.classes)]


def _cnn(config: ModelConfig) -> list[nn.Module]:
    """Blocks of convolution, normalisation and activation, with pooling between; an average at the end."""
    channels, *sides = config.input_shape
    is_flat = len(sides) == 2
    pool: type[nn.Module] = nn.MaxPool2d if is_flat else nn.MaxPool1d
    layers: list[nn.Module] = []
    n_pools = 0
    for block in range(config.depth):
        if block > 0 and min(sides) >= SMALLEST_POOLED:
            layers.append(pool(2))
            sides = [side // 2 for side in sides]
            n_pools += 1
        n_channels = config.width * min(2**n_pools, MAX_GROWTH)
        layers += _convolution(config, channels, n_channels, is_flat=is_flat)
        channels = n_channels
    average: nn.Module = nn.AdaptiveAvgPool2d(1) if is_flat else nn.AdaptiveAvgPool1d(1)
    return [*layers, average, nn.Flatten(), *_dropout(config), nn.Linear(channels, config.classes)]


def _convolution(config: ModelConfig, channels: int, n_channels: int, *, is_flat: bool) -> list[nn.Module]:
    has_bias = config.normalization == "none"
    convolution: nn.Module
    # A signal has fewer samples than a picture has pixels, so that a wider window costs little there.
    if is_flat:
        convolution = nn.Conv2d(channels, n_channels, 3, padding=1, bias=has_bias)
    else:
        convolution = nn.Conv1d(channels, n_channels, 5, padding=2, bias=has_bias)
    layers: list[nn.Module] = [convolution]
    if config.normalization == "batch":
        layers.append(nn.BatchNorm2d(n_channels) if is_flat else nn.BatchNorm1d(n_channels))
    elif config.normalization == "layer":
        layers.append(nn.GroupNorm(1, n_channels))  # one group: the layer norm of a picture
    return [*layers, ACTIVATIONS[config.activation]()]


def _dropout(config: ModelConfig) -> list[nn.Module]:
    return [nn.Dropout(config.dropout)] if config.dropout > 0 else []


def _initialise(model: nn.Sequential, activation: Activation) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="tanh" if activation == "tanh" else "relu")
            _zero(layer.bias)
    head = model[-1]
    if isinstance(head, nn.Linear):
        nn.init.normal_(head.weight, std=HEAD_GAIN / math.sqrt(head.in_features))


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        nn.init.zeros_(bias)
