"""Averages of the weights along a training: of its last part (SWA), or exponential (EMA)."""

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

    Call `after_update` after each update and `end_epoch` after each epoch; judge and keep `module`. A checkpoint of it
    is torch's: pass it to `trial.epochs`.

    Args:
        network: what is trained.
        kind: `swa` gives each epoch's end from `begin` on the same weight (Izmailov et al. 2018); before, `module` is
            the network as it is. `ema` gives the update before the last `decay` times the last one's weight.
        begin: the first epoch that swa averages, counted from 0.
        decay: of ema.
    """

    def __init__(
        self, network: nn.Module, kind: Literal["swa", "ema"], *, begin: int = 0, decay: float = EMA_DECAY
    ) -> None:
        super().__init__(network, multi_avg_fn=_corrected(decay) if kind == "ema" else None)
        self._kind = kind
        self._begin = begin

    def after_update(self, network: nn.Module) -> None:
        """Take in the weights after an update; only ema does."""
        if self._kind == "ema":
            self.update_parameters(network)

    def end_epoch(self, network: nn.Module, *, epoch: int, train: Samples) -> None:
        """Take in the weights at an epoch's end, and give `module` the normalisation statistics that belong to it.

        Args:
            network: what is trained.
            epoch: counted from 0.
            train: the statistics of batch normalisations are those of these samples, whole.
        """
        averages = self._kind == "ema" or epoch > self._begin
        if self._kind == "swa":
            if not averages:
                self.n_averaged.zero_()  # so that torch copies, and begins anew
            self.update_parameters(network)
        if averages:
            update_statistics(self.module, train)


def swa_begin(epochs: int, share: float = SWA_BEGIN) -> int:
    """The first epoch, counted from 0, that swa averages; it averages the last two at least."""
    return max(0, min(epochs - 2, int(epochs * share)))


def update_statistics(model: nn.Module, samples: Samples) -> None:
    """Give batch normalisations the mean and variance of all samples under the model's weights; others cost nothing."""
    update_bn(torch.split(samples.inputs, STATISTICS_BATCH), model)


def _corrected(
    decay: float,
) -> Callable[[tuple[Tensor, ...] | list[Tensor], tuple[Tensor, ...] | list[Tensor], Tensor | int], None]:
    """The exponential average, corrected for its beginning as Adam's moments are.

    That is e_n = decay e_(n-1) + (1 - decay) w_n from e_0 = 0, over 1 - decay^n, which lies on the line from
    the average before to w_n, at (1 - decay) / (1 - decay^n) of it.
    """

    @torch.no_grad()
    def _average(
        averages: tuple[Tensor, ...] | list[Tensor], new: tuple[Tensor, ...] | list[Tensor], n: Tensor | int
    ) -> None:
        share = (1.0 - decay) / (1.0 - decay ** (int(n) + 1))
        torch._foreach_lerp_(list(averages), list(new), share)

    return _average
