"""The learning-rate range test: the useful rates of an optimizer for a network and data, from one short run.

Smith 2017 (arXiv:1506.01186, section 3.3): raise the rate at each update and record the loss. The loss falls while the
rate is useful, and rises when it is too high. Rates rise exponentially, as in fastai's finder, because the range spans
orders of magnitude.
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

SMOOTHING = 0.9  # of the losses: an exponential average with bias correction
MAX_LOSS_FACTOR = 4.0  # times the lowest loss: fastai's bound
SAFETY = 1 / 3  # of the rate at the lowest loss; Bengio 2012 (section 3.1.1) divides the largest working rate by 2 to 3


@dataclass(frozen=True)
class RateRange:
    """The result of the test.

    Attributes:
        rates: the rate of each update, rising.
        losses: the smoothed loss before each update.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def lowest(self) -> float:
        """The rate at the lowest loss, before it rises."""
        return self.rates[self.losses.index(min(self.losses))]

    @property
    def suggested(self) -> float:
        """The rate to train with, or the upper bound of a cyclic schedule: a third of `lowest`."""
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
    """Train for some updates at rates that rise from `rates[0]` to `rates[1]`, and restore the initial state.

    The test ends early when the loss is four times the lowest, or not finite. It restores the model, the optimizer and
    torch's CPU generator.

    Args:
        model: the model to train, on the device of the samples.
        samples: the training samples.
        optimizer: the model's optimizer; all groups get the tested rate.
        batch_size: the batch size of the later training; the best rate depends on it.
        rates: the first and the last rate.
        updates: number of updates.
    """
    model_state, optimizer_state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    generator_state = torch.get_rng_state()
    model.train()
    try:
        return _sweep(model, optimizer, _endless(samples, batch_size), rates=_spaced(*rates, updates))
    finally:
        model.load_state_dict(model_state)
        optimizer.load_state_dict(optimizer_state)
        optimizer.zero_grad()
        torch.set_rng_state(generator_state)


def _sweep(model: nn.Module, optimizer: Optimizer, batches: Iterator[Samples], *, rates: list[float]) -> RateRange:
    average, least = 0.0, math.inf
    losses: list[float] = []
    for n, (rate, batch) in enumerate(zip(rates, batches, strict=False), start=1):
        loss, _ = PLAIN.loss(model, batch)
        average = SMOOTHING * average + (1.0 - SMOOTHING) * loss.item()
        smoothed = average / (1.0 - SMOOTHING**n)
        if not math.isfinite(smoothed) or smoothed > MAX_LOSS_FACTOR * least:
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
