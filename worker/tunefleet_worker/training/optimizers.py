"""Optimizers by name, with the weight decay where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn
from torch.optim import Optimizer

from tunefleet.errors import TunefleetError
from tunefleet.model import did_you_mean
from tunefleet_worker.training.lbfgs import DecayedLBFGS
from tunefleet_worker.training.muon import MuonWithAdamW, hidden_matrices

OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = MappingProxyType(
    {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "rmsprop": torch.optim.RMSprop,
        "nadam": torch.optim.NAdam,
        "radam": torch.optim.RAdam,
        "adagrad": torch.optim.Adagrad,
        "adadelta": torch.optim.Adadelta,
        "asgd": torch.optim.ASGD,
        "muon": MuonWithAdamW,
        "lbfgs": DecayedLBFGS,
    }
)
"""The classes by the names that studies use; `tunefleet.catalogue.optimizers.PRESETS` has the learning rates of each."""

FUSED = frozenset(
    {"sgd", "adam", "adamw", "adagrad"}
)  # torch updates these in one kernel, on the CPU too: less overhead for small nets


class UnknownOptimizer(TunefleetError):
    """No optimizer has this name."""

    code = "unknown_optimizer"


def build_optimizer(
    name: str, model: nn.Module, *, lr: float, weight_decay: float = 0.0, momentum: float = 0.9, nesterov: bool = False
) -> Optimizer:
    """The optimizer of a model's trainable parameters.

    Args:
        name: one of OPTIMIZERS. lbfgs needs a closure over all samples, such as `whole_batch` makes; asgd leaves the
            average of the weights in its state, where torch never reads it: `averaging` has averages that count.
        model: biases and the parameters of normalisations, all those with one dimension, are never decayed.
        lr: the learning rate.
        weight_decay: decoupled from the gradient by adamw and muon, an L2 penalty with the others.
        momentum: of sgd; the others have their own and leave it alone.
        nesterov: whether sgd looks ahead (Sutskever et al. 2013); without momentum there is nothing to look ahead to.

    Raises:
        UnknownOptimizer: the name is not one of OPTIMIZERS.
    """
    if name not in OPTIMIZERS:
        raise UnknownOptimizer(f"there is no optimizer {name!r}{did_you_mean(name, list(OPTIMIZERS))}.")
    options: dict[str, object] = {}
    if name == "sgd":
        options = {"momentum": momentum, "nesterov": nesterov and momentum > 0}
    if name in FUSED:
        options["fused"] = True
    return OPTIMIZERS[name](_groups(name, model, weight_decay), lr=lr, **options)


def _groups(name: str, model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """The trainable parameters in groups of one decay and one kind of update, none of them empty."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == "lbfgs":  # which takes one group, and leaves out the decay of biases by itself
        return [{"params": trainable, "weight_decay": weight_decay}]
    decayed = [parameter for parameter in trainable if parameter.dim() > 1]
    spared: dict[str, object] = {
        "params": [parameter for parameter in trainable if parameter.dim() <= 1],
        "weight_decay": 0.0,
    }
    groups: list[dict[str, object]] = [{"params": decayed, "weight_decay": weight_decay}, spared]
    if name == "muon":
        hidden = {id(parameter) for parameter in hidden_matrices(model)}
        groups = [
            {"params": [it for it in decayed if id(it) in hidden], "weight_decay": weight_decay, "muon": True},
            {"params": [it for it in decayed if id(it) not in hidden], "weight_decay": weight_decay},
            spared,
        ]
    return [group for group in groups if group["params"]]
