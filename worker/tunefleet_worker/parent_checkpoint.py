"""Restore of another trial's checkpoint for population-based training: its state without its hyperparameters.

An optimizer's state holds its options beside its moments, and a schedule's state holds its base rates. Restoring them
would overwrite the hyperparameters of the new trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tunefleet_worker.checkpoints import Checkpoint, Stateful, load_checkpoint

Options = dict[str, Any]
"""The options of a parameter group, such as `lr`, `momentum` and `weight_decay`, without the parameters."""


def load_parent_checkpoint(path: Path, *, objects: Mapping[str, Stateful]) -> Checkpoint:
    """Restore the objects and the global generators from another trial's checkpoint.

    The options of torch's optimizers and the base rates of its schedules stay. A schedule continues at its restored
    position, with the current rate scaled in proportion.

    Raises:
        CheckpointError: see `load_checkpoint`.
    """
    optimizers = {name: item for name, item in objects.items() if isinstance(item, Optimizer)}
    schedules = {name: item for name, item in objects.items() if isinstance(item, LRScheduler)}
    options = {name: [_options(group) for group in item.param_groups] for name, item in optimizers.items()}
    rates = {name: list(item.base_lrs) for name, item in schedules.items()}
    checkpoint = load_checkpoint(path, objects=objects)
    for name, optimizer in optimizers.items():
        _restore_options(optimizer, options[name])
    for name, schedule in schedules.items():
        schedule.base_lrs = rates[name]
        schedule._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]
    return checkpoint


def _options(group: Mapping[str, Any]) -> Options:
    return {name: value for name, value in group.items() if name != "params"}


def _restore_options(optimizer: Optimizer, options: Sequence[Options]) -> None:
    for group, own in zip(optimizer.param_groups, options, strict=True):
        lr, initial_lr = group["lr"], group.get("initial_lr")
        group.update(own)
        if initial_lr and "initial_lr" in own:  # a schedule has changed the rate
            group["lr"] = own["initial_lr"] * (lr / initial_lr)
