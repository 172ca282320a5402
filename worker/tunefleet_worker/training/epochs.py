"""Training for one epoch, and scoring a model."""

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

SCORING_BATCH = 512  # samples per batch when scoring; constant, so that a score is the same everywhere


@dataclass(frozen=True, slots=True)
class Score:
    """The mean cross-entropy in nats and the accuracy."""

    loss: float
    accuracy: float

    @property
    def is_finite(self) -> bool:
        """True if the loss is finite; a training with a loss that is not does not recover."""
        return math.isfinite(self.loss)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Options of an update besides the optimizer's step on the cross-entropy.

    Attributes:
        label_smoothing: the share of each target that is spread evenly over all classes (Szegedy et al. 2016).
        mixup: alpha of `mixup.mix`; 0: no mixup.
        precision: `mixed` computes in bfloat16 on a GPU that supports it.
        before_step: called in order between `backward` and the optimizer's step, such as `PercentileClip.clip`.
        after_step: called in order after the step, such as `ProximalL1.step` and `Schedule.step`.
    """

    label_smoothing: float = 0.0
    mixup: float = 0.0
    precision: Literal["full", "mixed"] = "full"
    before_step: tuple[Callable[[], object], ...] = ()
    after_step: tuple[Callable[[], object], ...] = ()

    def loss(self, model: nn.Module, batch: Samples) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch, a scalar with its graph, and the number of correct predictions, int64.

        For a mixed sample the class with the larger share is correct.
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
    """Take one step for each batch of a random order of all samples; return the score.

    The samples are on the model's device. Their order comes from torch's global CPU generator, so that a checkpoint
    holds it. The score is the mean over the training batches before each step; its loss includes label smoothing and
    mixup.
    """
    model.train()
    inputs, labels = samples.inputs, samples.labels
    loss_sum = torch.zeros((), device=inputs.device)
    n_right = torch.zeros((), dtype=torch.int64, device=inputs.device)
    for batch in shuffled_batches(len(labels), batch_size):
        index = batch.to(inputs.device)
        loss, right = recipe.loss(model, Samples(inputs[index], labels[index]))
        update(optimizer, loss, recipe=recipe)
        # Summed on the device: reading each loss would synchronise.
        loss_sum += loss.detach() * len(batch)
        n_right += right
    return Score(loss=loss_sum.item() / len(labels), accuracy=n_right.item() / len(labels))


def update(optimizer: Optimizer, loss: Tensor, *, recipe: Recipe = PLAIN) -> None:
    """Take one optimizer step on a loss, with the recipe's calls before and after it."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    for call in recipe.before_step:
        call()
    optimizer.step()
    for call in recipe.after_step:
        call()


@torch.no_grad()
def score(model: nn.Module, samples: Samples) -> Score:
    """Return the model's score on samples on its device, in evaluation mode."""
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
    """Yield all positions, int64, in a random order, `batch_size` at a time.

    A last batch of a single sample is merged into the one before, because batch normalisation needs two samples.
    """
    order = torch.randperm(n_samples)
    return iter(torch.tensor_split(order, list(_inner_ends(n_samples, batch_size))))


def n_batches(n_samples: int, batch_size: int) -> int:
    """Return the number of batches of `shuffled_batches`."""
    return len(_inner_ends(n_samples, batch_size)) + 1


def _inner_ends(n_samples: int, batch_size: int) -> range:
    return range(batch_size, n_samples - 1, batch_size)
