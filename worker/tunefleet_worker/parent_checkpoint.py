"""Going on from another trial's checkpoint: what it has learnt is taken over, and what it was told is not.

A checkpoint of an optimizer holds its options beside its moments, and one of a schedule the rates that it began with.
Restored as they are, they would undo the very parameters that the trial was given to try.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from tunefleet_worker.checkpoints import Checkpoint, Stateful, load_checkpoint

Options = dict[str, Any]
"""Of a group of parameters: `lr`, `momentum`, `weight_decay` and so on, but for the parameters themselves."""


def load_parent_checkpoint(path: Path, *, objects: Mapping[str, Stateful]) -> Checkpoint:
    """Restore the objects and the global generators from another trial's checkpoint, as `load_checkpoint` does.

    The options of torch's optimizers stay as they are. So do the rates that its schedules began with: a schedule goes
    on from where it was, with its rate in proportion.

    Raises:
        CheckpointError: as `load_checkpoint` does.
    """
    optimizers = {name: item for name, item in objects.items() if isinstance(item, Optimizer)}
    schedules = {name: item for name, item in objects.items() if isinstance(item, LRScheduler)}
    options = {name: [_options(group) for group in item.param_groups] for name, item in optimizers.items()}
    rates = {name: list(item.base_lrs) for name, item in schedules.items()}
    checkpoint = load_checkpoint(path, objects=objects)
    for name, optimizer in optimizers.items():
        _put_back(optimizer, options[name])
    for name, schedule in schedules.items():
        schedule.base_lrs = rates[name]
        schedule._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]
    return checkpoint


def _options(group: Mapping[str, Any]) -> Options:
    return {name: value for name, value in group.items() if name != "params"}


def _put_back(optimizer: Optimizer, options: Sequence[Options]) -> None:
    for group, own in zip(optimizer.param_groups, options, strict=True):
        at, began = group["lr"], group.get("initial_lr")
        group.update(own)
        if began and "initial_lr" in own:  # a schedule has changed the rate since it began
            group["lr"] = own["initial_lr"] * (at / began)
