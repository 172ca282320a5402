"""Optimizers by name, with weight decay on matrices only."""

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
"""The classes by their names in a study; `tunefleet.catalogue.optimizers.PRESETS` has their learning rates."""

# torch updates these in one kernel, also on the CPU, with less overhead for small networks.
FUSED = frozenset({"sgd", "adam", "adamw", "adagrad"})


class UnknownOptimizer(TunefleetError):
    """There is no optimizer of this name."""

    code = "unknown_optimizer"


def build_optimizer(
    name: str, model: nn.Module, *, lr: float, weight_decay: float = 0.0, momentum: float = 0.9, nesterov: bool = False
) -> Optimizer:
    """Return an optimizer for a model's trainable parameters.

    Args:
        name: one of OPTIMIZERS. lbfgs needs a closure over all samples, such as `whole_batch` returns. asgd only stores
            the average of the weights in its state; use `averaging` to evaluate an average.
        model: the model; parameters with one dimension (biases and normalisations) are never decayed.
        lr: the learning rate.
        weight_decay: decoupled from the gradient for adamw and muon, an L2 penalty for the others.
        momentum: the momentum of sgd; the others ignore it.
        nesterov: use Nesterov momentum in sgd (Sutskever et al. 2013); ignored without momentum.

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
    """Return the trainable parameters in groups by decay and kind of update, without empty groups."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == "lbfgs":  # lbfgs accepts one group, and does not decay biases itself
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
