"""The training of a built-in task: the parts of `tunefleet_worker.training` that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field
from torch import nn

from tunefleet.catalogue.tasks import NEVER_CLIPS, TrainingArguments
from tunefleet_worker.training.averaging import Average, swa_begin
from tunefleet_worker.training.batch_growth import BatchPlan
from tunefleet_worker.training.clipping import PercentileClip
from tunefleet_worker.training.curves import step, warmup
from tunefleet_worker.training.epochs import Recipe, Score, n_batches, train_epoch
from tunefleet_worker.training.optimizers import build_optimizer
from tunefleet_worker.training.samples import Samples
from tunefleet_worker.training.schedules import Plateau, Schedule, Shape, build_schedule
from tunefleet_worker.training.sparsity import ProximalL1


class TrainingConfig(TrainingArguments):
    """Everything that the updates depend on. Lengths are in epochs."""

    epochs: int = Field(ge=1)


class Training:
    """A network in training.

    Attributes:
        network: the network that is trained.
        judged: the network that is evaluated and saved: `network`, or the average of its weights.
        optimizer: the optimizer of `network`.
        schedule: the schedule of its learning rate.
        clip: clips the norm of the gradients; inactive at the percentile 100.

    Raises:
        InvalidInput: the schedule lacks its period, or the warm-up is as long as the training.
        UnknownOptimizer: there is no such optimizer.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, *, n_samples: int) -> None:
        self.network = network
        self.optimizer = build_optimizer(
            config.optimizer,
            network,
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            nesterov=config.nesterov,
        )
        self._plan = _plan(config, n_samples)
        self.schedule = _schedule(config, self._plan, optimizer=self.optimizer)
        self.clip = PercentileClip(network.parameters(), config.clip_percentile)
        self._average = _average(config, network)
        self.judged = network if self._average is None else self._average.module
        self._recipe = self._build_recipe(config)

    @property
    def stateful(self) -> dict[str, Any]:
        """The objects for `trial.epochs`: everything that training changes, and the judged network as `model`.

        Only the schedule `plateau` has a state of its own; `run_epoch` sets the position of the others.
        """
        objects: dict[str, Any] = {"model": self.judged, "optimizer": self.optimizer}
        if isinstance(self.schedule, Plateau):
            objects["schedule"] = self.schedule
        if self._recipe.before_step:
            objects["clip"] = self.clip
        if self._average is not None:
            objects |= {"network": self.network, "average": self._average}
        return objects

    def run_epoch(self, epoch: int, train: Samples) -> Score:
        """Train on all samples once, and return the score of the network during the epoch."""
        self.schedule.seek(self._plan.updates_before(epoch))
        size = self._plan.sizes[epoch]
        trained = train_epoch(self.network, train, optimizer=self.optimizer, batch_size=size, recipe=self._recipe)
        if self._average is not None:
            self._average.end_epoch(self.network, epoch=epoch, train=train)
        return trained

    def end_epoch(self, validation_loss: float) -> None:
        """Pass the validation loss to the schedule, and log advice if clipping hides a rate that is too high."""
        self.schedule.end_epoch(validation_loss)
        if (advice := self.clip.advice) is not None:
            print(advice, flush=True)

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics besides the scores: `clipped_share` of the newest updates, if clipping is active."""
        return {"clipped_share": self.clip.share_clipped} if self._recipe.before_step else {}

    def _build_recipe(self, config: TrainingConfig) -> Recipe:
        after: list[Callable[[], object]] = []
        if config.l1 > 0:
            after.append(ProximalL1(self.optimizer, config.l1).step)
        if (average := self._average) is not None:
            after.append(lambda: average.after_update(self.network))
        return Recipe(
            label_smoothing=config.label_smoothing,
            mixup=config.mixup,
            precision=config.precision,
            before_step=(self.clip.clip,) if config.clip_percentile < NEVER_CLIPS else (),
            after_step=(*after, self.schedule.step),
        )


def _plan(config: TrainingConfig, n_samples: int) -> BatchPlan:
    if config.schedule != "grow_batch" or config.period is None:
        return BatchPlan.constant(config.batch_size, n_samples=n_samples, epochs=config.epochs)
    decay = step(config.period, config.decay)
    return BatchPlan.growing(config.batch_size, decay, n_samples=n_samples, epochs=config.epochs)


def _schedule(config: TrainingConfig, plan: BatchPlan, *, optimizer: Any) -> Schedule:
    per_epoch = n_batches(plan.n_samples, config.batch_size)
    period = config.period
    if period is not None and config.schedule != "plateau":  # which counts epochs itself
        period *= per_epoch
    shape = Shape(
        name=config.schedule,
        total=plan.updates_before(config.epochs),
        period=period,
        decay=config.decay,
        growth=config.cycle_growth,
        warmup=round(config.warmup * per_epoch),
    )
    if config.schedule != "grow_batch":
        return build_schedule(optimizer, shape)
    rate, ramp = plan.curve(), warmup(shape.warmup)
    return Schedule(optimizer, lambda n: rate(n) * ramp(n))


def _average(config: TrainingConfig, network: nn.Module) -> Average | None:
    if config.averaging == "none":
        return None
    return Average(network, config.averaging, begin=swa_begin(config.epochs))
