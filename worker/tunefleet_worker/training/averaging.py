"""Averages of the weights during a training: stochastic weight averaging (SWA) and exponential moving average (EMA)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from tunefleet_worker.training.samples import Samples

EMA_DECAY = 0.999
SWA_BEGIN = 0.75  # of the epochs: Izmailov et al. 2018 (arXiv:1803.05407), section 4
STATISTICS_BATCH = 512


class Average(AveragedModel):
    """The average of a network's weights, `module`, of the same architecture.

    Call `after_update` after each update and `end_epoch` after each epoch; evaluate and save `module`. Pass the average
    to `trial.epochs` to checkpoint it.

    Args:
        network: the network in training.
        kind: `swa` averages the weights at the end of each epoch from `begin` on (Izmailov et al. 2018); earlier,
            `module` equals the network. `ema` multiplies the weight of each earlier update by `decay`.
        begin: the first epoch that swa averages, counted from 0.
        decay: the decay of ema.
    """

    def __init__(
        self, network: nn.Module, kind: Literal["swa", "ema"], *, begin: int = 0, decay: float = EMA_DECAY
    ) -> None:
        super().__init__(network, multi_avg_fn=_corrected(decay) if kind == "ema" else None)
        self._kind = kind
        self._begin = begin

    def after_update(self, network: nn.Module) -> None:
        """Add the weights after an update; only for ema."""
        if self._kind == "ema":
            self.update_parameters(network)

    def end_epoch(self, network: nn.Module, *, epoch: int, train: Samples) -> None:
        """Add the weights at the end of an epoch, and compute the normalisation statistics of `module`.

        Args:
            network: the network in training.
            epoch: the epoch, counted from 0.
            train: all training samples, for the statistics of batch normalisations.
        """
        averages = self._kind == "ema" or epoch > self._begin
        if self._kind == "swa":
            if not averages:
                self.n_averaged.zero_()  # torch then copies the weights and starts again
            self.update_parameters(network)
        if averages:
            update_statistics(self.module, train)


def swa_begin(epochs: int, share: float = SWA_BEGIN) -> int:
    """Return the first epoch, counted from 0, that swa averages; it averages at least the last two."""
    return max(0, min(epochs - 2, int(epochs * share)))


def update_statistics(model: nn.Module, samples: Samples) -> None:
    """Recompute the statistics of batch normalisations over all samples; do nothing for models without any."""
    update_bn(torch.split(samples.inputs, STATISTICS_BATCH), model)


def _corrected(
    decay: float,
) -> Callable[[tuple[Tensor, ...] | list[Tensor], tuple[Tensor, ...] | list[Tensor], Tensor | int], None]:
    """Return the exponential average with a bias correction, as for Adam's moments.

    The average is e_n / (1 - decay^n) with e_n = decay e_(n-1) + (1 - decay) w_n and e_0 = 0. It equals the linear
    interpolation from the previous average to w_n at (1 - decay) / (1 - decay^n).
    """

    @torch.no_grad()
    def _average(
        averages: tuple[Tensor, ...] | list[Tensor], new: tuple[Tensor, ...] | list[Tensor], n: Tensor | int
    ) -> None:
        share = (1.0 - decay) / (1.0 - decay ** (int(n) + 1))
        torch._foreach_lerp_(list(averages), list(new), share)

    return _average
