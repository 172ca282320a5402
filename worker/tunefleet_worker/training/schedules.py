"""Learning-rate schedules by name: told after each update, and resumed by the number of updates alone."""

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

NO_PERIOD = 1  # of schedules that have none


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A schedule, in updates.

    Attributes:
        name: one of `tunefleet.catalogue.schedules.NAMES`; `grow_batch` needs the plan of its batches, see `batch_growth`.
        total: how many updates the training has; the warm-up is part of them.
        period: what `tunefleet.catalogue.schedules.PERIODS` says of the name; in updates, of `plateau` in epochs.
        decay: what step and plateau multiply the rate by; above 0 and below 1.
        growth: how many times longer each cycle of sgdr is than the one before.
        warmup: updates in which the rate first rises in a straight line.
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
        """The factor on the learning rate."""
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
        """The momentum itself; None when the schedule leaves it alone."""
        if self.name != "1cycle":
            return None
        momentum = curves.one_cycle_momentum(self.total - self.warmup)
        return lambda n: momentum(max(0, n - self.warmup))


class Schedule(LambdaLR):
    """Sets the rates of an optimizer to a curve's factor times the rates that it was made with.

    Call `step()` after each update of the optimizer, and `end_epoch` after each epoch. A checkpoint of it is the number
    of updates; pass it to `trial.epochs` beside the optimizer.

    Args:
        optimizer: its groups' `lr` are the rates at factor 1.
        curve: the factor after n updates.
        momentum: the momentum of SGD and its kind, or the first beta of Adam and its kind, after n updates.
    """

    GIVEN = frozenset({"_momentum", "_decay", "_patience"})

    def __init__(self, optimizer: Optimizer, curve: Curve, *, momentum: Curve | None = None) -> None:
        self._momentum = momentum
        super().__init__(optimizer, lambda n: curve(n) * self._scale())

    def step(self, epoch: int | None = None) -> None:
        """One more update was made."""
        super().step(epoch)
        self._set_momentum()

    def seek(self, n: int) -> None:
        """Go to where `n` updates are made, wherever it was."""
        self.last_epoch = n
        for group, base, factor in zip(self.optimizer.param_groups, self.base_lrs, self.lr_lambdas, strict=True):
            group["lr"] = base * factor(n)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]
        self._set_momentum()

    def end_epoch(self, validation_loss: float) -> None:
        """An epoch has ended with this loss; only `plateau` looks at it."""

    def state_dict(self) -> dict[str, Any]:
        """How many updates were made, and torch's own notes; what the schedule was made with is not part of it."""
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

    As torch's ReduceLROnPlateau decides, with its defaults: a loss is better when it is below 0.9999 of the best. That
    class cannot stand here, since it and a warm-up would overwrite each other's rates.
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
        """Count the epoch, and reduce the rate from the next update on if it was one too many."""
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
    """The schedule of an optimizer that has not made an update yet.

    Raises:
        InvalidInput: the shape is grow_batch's, whose curve comes from the plan of its batches.
    """
    if shape.name == "grow_batch":
        rule = "has its rates in the plan of its batches; use Schedule(optimizer, plan.curve())"
        raise InvalidInput([Problem("schedule", rule, shown(shape.name))])
    if shape.name == "plateau":
        return Plateau(optimizer, shape.curve(), decay=shape.decay, patience=shape.period or NO_PERIOD)
    return Schedule(optimizer, shape.curve(), momentum=shape.momentum())
