"""Optimizers by name, with the weight decay where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn
from torch.optim import Optimizer

from tunefleet.errors import TunefleetError
from tunefleet.model import did_you_mean

OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = MappingProxyType(
    {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
        "nadam": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
        "adagrad": torch.optim.Adagrad,
    }
)
"""torch's classes by the names that studies use."""

FUSED = frozenset(
    {"sgd", "adam", "adamw", "adagrad"}
)  # torch updates these in one kernel, on the CPU too: less overhead for small nets


class UnknownOptimizer(TunefleetError):
    """No optimizer has this name."""

    code = "unknown_optimizer"


def build_optimizer(
    name: str, model: nn.Module, *, lr: float, weight_decay: float = 0.0, momentum: float = 0.9
) -> Optimizer:
    """The optimizer of a model's trainable parameters.

    Args:
        name: one of OPTIMIZERS.
        model: biases and the parameters of normalisations, all those with one dimension, are never decayed.
        lr: the learning rate.
        weight_decay: decoupled from the gradient by adamw, an L2 penalty with the others.
        momentum: of sgd; the others have their own and leave it alone.

    Raises:
        UnknownOptimizer: the name is not one of OPTIMIZERS.
    """
    if name not in OPTIMIZERS:
        raise UnknownOptimizer(f"there is no optimizer {name!r}{did_you_mean(name, list(OPTIMIZERS))}.")
    options: dict[str, object] = {"momentum": momentum} if name == "sgd" else {}
    if name in FUSED:
        options["fused"] = True
    return OPTIMIZERS[name](_parameter_groups(model, weight_decay), lr=lr, **options)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, object]] = [
        {"params": [parameter for parameter in trainable if parameter.dim() > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trainable if parameter.dim() <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
