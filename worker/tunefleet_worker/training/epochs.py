"""One pass over the training samples, and the score of a model on others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

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


def train_epoch(model: nn.Module, samples: Samples, *, optimizer: Optimizer, batch_size: int) -> Score:
    """Take one step for each batch of a new order of all samples.

    The samples are on the model's device. Their order comes from torch's global generator of the CPU, so that a
    checkpoint holds it. The score is the mean over the batches as they were trained on, before each step.
    """
    model.train()
    inputs, labels = samples.inputs, samples.labels
    loss_sum = torch.zeros((), device=inputs.device)
    n_right = torch.zeros((), dtype=torch.int64, device=inputs.device)
    for batch in shuffled_batches(len(labels), batch_size):
        index = batch.to(inputs.device)
        target = labels[index]
        logits = model(inputs[index])
        loss = functional.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        # Summed on the device: reading each loss would wait for it.
        loss_sum += loss.detach() * len(batch)
        n_right += (logits.detach().argmax(1) == target).sum()
    return Score(loss=loss_sum.item() / len(labels), accuracy=n_right.item() / len(labels))


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
    ends = list(range(batch_size, n_samples - 1, batch_size))
    return iter(torch.tensor_split(order, ends))
