"""Measurements beside loss and accuracy: update ratios, dead units, calibration."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

PROBES = 4  # steps of an epoch at which updates are measured
BINS = 15  # of the calibration error, as Guo et al. 2017 have it
TINY = 1e-12


class UpdateRatios:
    """The update of each weight tensor relative to its norm, measured like in `trial.watch`."""

    def __init__(self, network: nn.Module) -> None:
        self._weights = {name: p for name, p in network.named_parameters() if p.dim() >= 2 and p.requires_grad}
        self._epochs: list[dict[str, list[float]]] = []
        self._probed: set[int] = set()

    def begin_epoch(self, n_steps: int) -> None:
        """Begin an epoch of `n_steps` steps."""
        self._probed = {round(i * (n_steps - 1) / (PROBES - 1)) for i in range(PROBES)}
        self._epochs.append({name: [] for name in self._weights})

    @contextmanager
    def around(self, step: int) -> Iterator[None]:
        """Measure the optimizer step inside the block, if this step is probed."""
        if step not in self._probed:
            yield
            return
        before = {name: weight.detach().clone() for name, weight in self._weights.items()}
        yield
        for name, weight in self._weights.items():
            ratio = (weight.detach() - before[name]).norm() / (before[name].norm() + TINY)
            self._epochs[-1][name].append(float(ratio))

    def of_epoch(self) -> float:
        """Return the median over the tensors of their medians in this epoch."""
        return statistics.median(statistics.median(ratios) for ratios in self._epochs[-1].values())

    def typical(self) -> dict[str, float]:
        """Return the median of each tensor over the second and third epoch."""
        settled = self._epochs[1:3] or self._epochs
        return {name: statistics.median(r for epoch in settled for r in epoch[name]) for name in self._weights}


@torch.no_grad()
def dead_share(network: nn.Module, inputs: Tensor) -> float | None:
    """The share of ReLU units that are 0 on all inputs; None without such units."""
    n_dead, n_units = 0, 0

    def _count(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal n_dead, n_units
        largest = output.transpose(0, 1).flatten(1).amax(dim=1)
        n_dead, n_units = n_dead + int((largest <= 0).sum()), n_units + len(largest)

    hooks = [layer.register_forward_hook(_count) for layer in network.modules() if isinstance(layer, nn.ReLU)]
    network.eval()
    network(inputs)
    for hook in hooks:
        hook.remove()
    return n_dead / n_units if n_units else None


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """ECE: confidence against accuracy, over 15 bins of equal width (Guo et al. 2017, arXiv:1706.04599)."""
    confidence, guess = logits.softmax(dim=1).max(dim=1)
    is_right = (guess == labels).to(torch.float64)
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add_(0, place, confidence.to(torch.float64) - is_right)
    return float(gaps.abs().sum() / len(labels))
