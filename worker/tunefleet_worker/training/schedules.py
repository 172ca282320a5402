"""Learning-rate schedules by name: stepped after each update, and resumed from the number of updates alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tunefleet.catalogue.schedules import NAMES, PERIODIC, PERIODS
from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import did_you_mean, shown
from tunefleet_worker.training import curves
from tunefleet_worker.training.curves import Curve

NO_PERIOD = 1  # for schedules without a period


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The shape of a schedule, in updates.

    Attributes:
        name: one of `tunefleet.catalogue.schedules.NAMES`; `grow_batch` needs a `BatchPlan`, see `batch_growth`.
        total: number of updates in the training, including the warm-up.
        period: see `tunefleet.catalogue.schedules.PERIODS`; in updates, for `plateau` in epochs.
        decay: factor on the rate for step and plateau; above 0 and below 1.
        growth: ratio of the lengths of successive cycles of sgdr.
        warmup: number of updates of the linear warm-up.
    """

    name: str
    total: int
    period: int | None = None
    decay: float = 0.1
    growth: int = 1
    warmup: int = 0

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise InvalidInput([problem])

    def _problem(self) -> Problem | None:
        if self.name not in NAMES:
            return Problem(
                "schedule", f"there is no such schedule{did_you_mean(self.name, list(NAMES))}", shown(self.name)
            )
        if self.name in PERIODIC and (self.period is None or self.period < 1):
            rule = f"is required by the schedule {self.name!r}, at least 1: {PERIODS[self.name]}"
            return Problem("period", rule, None if self.period is None else shown(self.period))
        if not 0.0 < self.decay < 1.0:
            return Problem("decay", "must be above 0 and below 1", shown(self.decay))
        if not 0 <= self.warmup < self.total:
            rule = f"must be below the {self.total} updates of the training, or the rate is never reached"
            return Problem("warmup", rule, shown(self.warmup))
        return None

    def curve(self) -> Curve:
        """Return the curve of the factor on the learning rate."""
        left, period = self.total - self.warmup, self.period or NO_PERIOD
        curve = {
            "step": lambda: curves.step(period, self.decay),
            "linear": lambda: curves.linear(left),
            "cosine": lambda: curves.cosine(left),
            "sgdr": lambda: curves.sgdr(period, self.growth),
            "cyclic": lambda: curves.cyclic(period),
            "1cycle": lambda: curves.one_cycle(left),
            "wsd": lambda: curves.warmup_stable_decay(left),
        }.get(self.name, curves.constant)()
        return curves.with_warmup(curve, self.warmup) if self.warmup else curve

    def momentum(self) -> Curve | None:
        """Return the curve of the momentum; None if the schedule does not change it."""
        if self.name != "1cycle":
            return None
        momentum = curves.one_cycle_momentum(self.total - self.warmup)
        return lambda n: momentum(max(0, n - self.warmup))


class Schedule(LambdaLR):
    """Sets the rates of an optimizer to a curve's factor times its initial rates.

    Call `step()` after each update of the optimizer, and `end_epoch` after each epoch. Its checkpoint is the number of
    updates; pass it to `trial.epochs` beside the optimizer.

    Args:
        optimizer: the optimizer; `lr` of its groups are the rates at factor 1.
        curve: the factor after n updates.
        momentum: the momentum after n updates, or the first beta of optimizers with betas.
    """

    GIVEN = frozenset({"_momentum", "_decay", "_patience"})

    def __init__(self, optimizer: Optimizer, curve: Curve, *, momentum: Curve | None = None) -> None:
        self._momentum = momentum
        super().__init__(optimizer, lambda n: curve(n) * self._scale())

    def step(self, epoch: int | None = None) -> None:
        """Count one update."""
        super().step(epoch)
        self._set_momentum()

    def seek(self, n: int) -> None:
        """Set the number of updates to `n`."""
        self.last_epoch = n
        for group, base, factor in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True):
            group["lr"] = base * factor(n)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
        self._set_momentum()

    def end_epoch(self, validation_loss: float) -> None:
        """Count an epoch with this validation loss; only `plateau` uses it."""

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates and torch's own state, without the constructor's arguments."""
        return {key: value for key, value in super().state_dict().items() if key not in self.GIVEN}

    def _scale(self) -> float:
        return 1.0

    def _set_momentum(self) -> None:
        if self._momentum is None:
            return
        value = self._momentum(self.last_epoch)
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (value, *group["betas"][1:])
            elif "momentum" in group:
                group["momentum"] = value


class Plateau(Schedule):
    """Multiplies the rate by `decay` when the validation loss has not improved for more than `patience` epochs.

    The rule is that of torch's ReduceLROnPlateau with its defaults: a loss improves if it is below 0.9999 of the best.
    That class cannot be used itself, because it and a warm-up would overwrite each other's rates.
    """

    BETTER = 1.0 - 1e-4

    def __init__(self, optimizer: Optimizer, curve: Curve, *, decay: float, patience: int) -> None:
        self.reduced = 1.0
        self.best = math.inf
        self.waited = 0
        self._decay = decay
        self._patience = patience
        super().__init__(optimizer, curve)

    def end_epoch(self, validation_loss: float) -> None:
        """Count an epoch; after more than `patience` epochs without improvement reduce the rate."""
        if validation_loss < self.best * self.BETTER:
            self.best, self.waited = validation_loss, 0
            return
        self.waited += 1
        if self.waited > self._patience:
            self.reduced, self.waited = self.reduced * self._decay, 0
            self.seek(self.last_epoch)

    def _scale(self) -> float:
        return self.reduced


def build_schedule(optimizer: Optimizer, shape: Shape) -> Schedule:
    """Return the schedule of an optimizer that has not made an update yet.

    Raises:
        InvalidInput: the schedule is grow_batch; its curve comes from its `BatchPlan`.
    """
    if shape.name == "grow_batch":
        rule = "takes its rates from a BatchPlan; use Schedule(optimizer, plan.curve())"
        raise InvalidInput([Problem("schedule", rule, shown(shape.name))])
    if shape.name == "plateau":
        return Plateau(optimizer, shape.curve(), decay=shape.decay, patience=shape.period or NO_PERIOD)
    return Schedule(optimizer, shape.curve(), momentum=shape.momentum())
