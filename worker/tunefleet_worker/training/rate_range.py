"""The learning-rate range test: which rates an optimizer can use on this network and these data, in one short run.

Smith 2017 (arXiv:1506.01186, section 3.3): raise the rate from update to update and watch the loss. It falls while the
rate is useful, and rises when it is too high. Rates rise exponentially here, as in fastai's finder, since the range
covers orders of magnitude.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from tunefleet_worker.training.epochs import PLAIN, shuffled_batches, update
from tunefleet_worker.training.samples import Samples

SMOOTHING = 0.9  # of the losses, as an exponential average with its beginning corrected
BLOWN_UP = 4.0  # times the least loss: fastai's bound
SAFETY = 1 / 3  # of the rate at the least loss; Bengio 2012 (section 3.1.1) divides the largest that works by 2 to 3


@dataclass(frozen=True)
class RateRange:
    """What the test saw.

    Attributes:
        rates: the rate of each update, rising.
        losses: the smoothed loss before each of these updates.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def lowest(self) -> float:
        """The rate at which the loss was least; it is about to rise there."""
        return self.rates[self.losses.index(min(self.losses))]

    @property
    def suggested(self) -> float:
        """The rate to train with: a third of `lowest`, and the upper bound of a cyclic schedule."""
        return self.lowest * SAFETY


def rate_range_test(
    model: nn.Module,
    samples: Samples,
    *,
    optimizer: Optimizer,
    batch_size: int = 64,
    rates: tuple[float, float] = (1e-6, 10.0),
    updates: int = 100,
) -> RateRange:
    """Train for some updates at rates that rise from `rates[0]` to `rates[1]`, and leave all as it was.

    It ends early when the loss is four times the least, or no number. The model, the optimizer and torch's generator of
    the CPU are put back.

    Args:
        model: as it will be trained, on the device of the samples.
        samples: the training part.
        optimizer: of the model; its groups' rates are all set to the tested one.
        batch_size: of the training to come: the best rate depends on it.
        rates: the first and the last.
        updates: how many.
    """
    kept_model, kept_optimizer = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    kept_generator = torch.get_rng_state()
    model.train()
    try:
        return _swept(model, optimizer, _endless(samples, batch_size), rates=_spaced(*rates, updates))
    finally:
        model.load_state_dict(kept_model)
        optimizer.load_state_dict(kept_optimizer)
        optimizer.zero_grad()
        torch.set_rng_state(kept_generator)


def _swept(model: nn.Module, optimizer: Optimizer, batches: Iterator[Samples], *, rates: list[float]) -> RateRange:
    average, least = 0.0, math.inf
    losses: list[float] = []
    for n, (rate, batch) in enumerate(zip(rates, batches, strict=False), start=1):
        loss, _ = PLAIN.loss(model, batch)
        average = SMOOTHING * average + (1.0 - SMOOTHING) * loss.item()
        smoothed = average / (1.0 - SMOOTHING**n)
        if not math.isfinite(smoothed) or smoothed > BLOWN_UP * least:
            break
        least = min(least, smoothed)
        losses.append(smoothed)
        for group in optimizer.param_groups:
            group["lr"] = rate
        update(optimizer, loss)
    return RateRange(tuple(rates[: len(losses)]), tuple(losses))


def _spaced(low: float, high: float, n: int) -> list[float]:
    return [low * (high / low) ** (i / (n - 1)) for i in range(n)]


def _endless(samples: Samples, batch_size: int) -> Iterator[Samples]:
    while True:
        for index in shuffled_batches(len(samples), batch_size):
            at = index.to(samples.labels.device)
            yield Samples(samples.inputs[at], samples.labels[at])
