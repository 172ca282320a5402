"""LBFGS with a line search, and a closure over all samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from tunefleet_worker.training.samples import Samples

CHUNK = 512  # samples per forward pass


class DecayedLBFGS(torch.optim.LBFGS):
    """torch's LBFGS with the strong Wolfe line search and a weight decay, which torch's does not have.

    The decay is the penalty weight_decay / 2 * |w|^2 on weights of two or more dimensions. It is part of the minimised
    function, because the line search must include it.

    Args:
        groups: one group of parameters, with or without `weight_decay`.
        lr: initial step of the line search, except in the first update.
        max_iter: maximum number of iterations in one `step`.
        history: number of updates that approximate the curvature.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float = 1.0, *, max_iter: int = 20, history: int = 20
    ) -> None:
        super().__init__(groups, lr=lr, max_iter=max_iter, history_size=history, line_search_fn="strong_wolfe")

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Take up to `max_iter` iterations; return the penalised loss before the first.

        Args:
            closure: clears the gradients, computes the loss and its gradients, and returns the loss.
        """
        group = self.param_groups[0]
        decay = group.get("weight_decay", 0.0)
        weights = [parameter for parameter in group["params"] if parameter.dim() > 1]

        def penalised() -> Tensor:
            loss = closure()
            if decay == 0.0:
                return loss
            with torch.no_grad():
                for weight in weights:
                    if weight.grad is not None:
                        weight.grad.add_(weight, alpha=decay)
                penalty: Tensor = decay / 2 * torch.stack([weight.square().sum() for weight in weights]).sum()
                return loss + penalty

        loss: Tensor = super().step(penalised)  # type: ignore[no-untyped-call]
        return loss


def whole_batch(model: nn.Module, samples: Samples, *, optimizer: Optimizer) -> Callable[[], Tensor]:
    """Return a closure for `optimizer.step`: the mean cross-entropy of all samples, with its gradients.

    It processes the samples in chunks, so that memory does not limit their number. The model must not have dropout or
    batch normalisation, because a line search needs a deterministic loss.
    """

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros((), device=samples.labels.device)
        for inputs, labels in zip(*(torch.split(it, CHUNK) for it in (samples.inputs, samples.labels)), strict=True):
            loss = functional.cross_entropy(model(inputs), labels, reduction="sum") / len(samples)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    return closure
