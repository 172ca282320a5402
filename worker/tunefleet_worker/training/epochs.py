"""One pass over the training samples, and the score of a model on others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from tunefleet_worker.training.mixup import Targets, mix
from tunefleet_worker.training.precision import mixed_precision
from tunefleet_worker.training.samples import Samples

SCORING_BATCH = (
    512  # samples at once when nothing is learned; a constant, so that a score is the same wherever it is taken
)


@dataclass(frozen=True, slots=True)
class Score:
    """The mean cross-entropy in nats and the share of samples that are classified right."""

    loss: float
    accuracy: float

    @property
    def is_finite(self) -> bool:
        """Whether the loss is a number; one that is not will never be one again."""
        return math.isfinite(self.loss)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an update does besides the optimizer's step on the cross-entropy.

    Attributes:
        label_smoothing: the share of each target that is spread evenly over all classes (Szegedy et al. 2016).
        mixup: alpha of `mixup.mix`; 0: samples as they are.
        precision: `mixed` lets a GPU compute in bfloat16 where it can.
        before_step: called between `backward` and the optimizer's step, in this order, such as `PercentileClip.clip`.
        after_step: called behind the step, such as `ProximalL1.step` and `Schedule.step`.
    """

    label_smoothing: float = 0.0
    mixup: float = 0.0
    precision: Literal["full", "mixed"] = "full"
    before_step: tuple[Callable[[], object], ...] = ()
    after_step: tuple[Callable[[], object], ...] = ()

    def loss(self, model: nn.Module, batch: Samples) -> tuple[Tensor, Tensor]:
        """The loss of a batch, a scalar with its graph, and how many samples the model gets right, int64.

        Of mixed samples it is right to say what they mostly are.
        """
        targets = Targets(batch.labels, batch.labels, 1.0)
        inputs = batch.inputs
        if self.mixup > 0:
            inputs, targets = mix(inputs, batch.labels, alpha=self.mixup)
        with mixed_precision(inputs.device) if self.precision == "mixed" else nullcontext():
            logits = model(inputs)
            loss = targets.loss(logits, label_smoothing=self.label_smoothing)
        return loss, (logits.detach().argmax(1) == targets.majority).sum()


PLAIN = Recipe()


def train_epoch(
    model: nn.Module, samples: Samples, *, optimizer: Optimizer, batch_size: int, recipe: Recipe = PLAIN
) -> Score:
    """Take one step for each batch of a new order of all samples.

    The samples are on the model's device. Their order comes from torch's global generator of the CPU, so that a
    checkpoint holds it. The score is the mean over the batches as they were trained on, before each step: with label
    smoothing and mixup its loss is the smoothed and mixed one.
    """
    model.train()
    inputs, labels = samples.inputs, samples.labels
    loss_sum = torch.zeros((), device=inputs.device)
    n_right = torch.zeros((), dtype=torch.int64, device=inputs.device)
    for batch in shuffled_batches(len(labels), batch_size):
        index = batch.to(inputs.device)
        loss, right = recipe.loss(model, Samples(inputs[index], labels[index]))
        update(optimizer, loss, recipe=recipe)
        # Summed on the device: reading each loss would wait for it.
        loss_sum += loss.detach() * len(batch)
        n_right += right
    return Score(loss=loss_sum.item() / len(labels), accuracy=n_right.item() / len(labels))


def update(optimizer: Optimizer, loss: Tensor, *, recipe: Recipe = PLAIN) -> None:
    """One step down the gradient of a loss, and what the recipe puts before and behind it."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for call in recipe.before_step:
        call()
    optimizer.step()
    for call in recipe.after_step:
        call()


@torch.no_grad()
def score(model: nn.Module, samples: Samples) -> Score:
    """The model's score on samples that lie on its device, in evaluation mode."""
    model.eval()
    inputs, labels = samples.inputs, samples.labels
    loss_sum, n_right = 0.0, 0
    for at in range(0, len(labels), SCORING_BATCH):
        target = labels[at : at + SCORING_BATCH]
        logits = model(inputs[at : at + SCORING_BATCH])
        loss_sum += functional.cross_entropy(logits, target, reduction="sum").item()
        n_right += int((logits.argmax(1) == target).sum())
    return Score(loss=loss_sum / len(labels), accuracy=n_right / len(labels))


def shuffled_batches(n_samples: int, batch_size: int) -> Iterator[Tensor]:
    """Positions, int64, in a random order, `batch_size` at a time; every one once.

    A last batch of a single sample joins the one before, since batch normalisation cannot do with one.
    """
    order = torch.randperm(n_samples)
    return iter(torch.tensor_split(order, list(_inner_ends(n_samples, batch_size))))


def n_batches(n_samples: int, batch_size: int) -> int:
    """How many batches `shuffled_batches` makes."""
    return len(_inner_ends(n_samples, batch_size)) + 1


def _inner_ends(n_samples: int, batch_size: int) -> range:
    return range(batch_size, n_samples - 1, batch_size)
