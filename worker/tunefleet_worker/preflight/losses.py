"""Recorder of the calls to torch's loss functions while a training function runs.

torch passes every call of its functions to the active mode. The recorder thus sees the loss, predictions and targets of
the training itself, independent of the reported metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

MIN_FOR_VARIANCE = 8  # targets; the variance of fewer is unreliable

CLASSES, TWO_CLASSES, VALUES = "classes", "two classes", "values"
_KINDS: Mapping[Any, str] = MappingProxyType(
    {
        functional.cross_entropy: CLASSES,
        functional.nll_loss: CLASSES,
        functional.binary_cross_entropy_with_logits: TWO_CLASSES,
        functional.binary_cross_entropy: TWO_CLASSES,
        functional.mse_loss: VALUES,
    }
)
_TAKES_LOGITS = functional.cross_entropy
_TAKES_LOG_PROBABILITIES = functional.nll_loss


@dataclass(frozen=True, slots=True)
class FirstLoss:
    """The first loss of a training, and the loss of a guess that ignores the inputs.

    `guess` is ln(classes) in nats, or the variance of the targets; None if the batch is too small.
    """

    kind: str
    loss: float
    guess: float | None
    n_classes: int | None


@dataclass(slots=True)
class EpochSums:
    """Sums over the loss calls of one epoch, with `n` samples."""

    n: int = 0
    calls: int = 0
    loss_sum: float = 0.0
    n_right: int | None = None
    """Number of correct predictions; None if nothing is classified."""
    n_classified: int = 0
    """Number of predictions that `n_right` refers to."""
    targets_sum: float = 0.0
    squares_sum: float = 0.0
    n_targets: int = 0
    kind: str = ""

    @property
    def loss(self) -> float:
        """The mean loss; NaN without samples."""
        return self.loss_sum / self.n if self.n else math.nan

    @property
    def accuracy(self) -> float | None:
        """The share of correct predictions; None if nothing is classified."""
        return None if self.n_right is None or not self.n_classified else self.n_right / self.n_classified

    @property
    def r2(self) -> float | None:
        """1 - MSE / Var(y); None if no values are predicted."""
        if self.kind != VALUES or self.n_targets < MIN_FOR_VARIANCE:
            return None
        mean = self.targets_sum / self.n_targets
        variance = self.squares_sum / self.n_targets - mean * mean
        return 1.0 - self.loss / variance if variance > 0 else None


class LossRecorder(TorchFunctionMode):
    """Records every call of a torch loss function inside its `with` block.

    Attributes:
        start: the first training loss; None before it, and without torch's loss functions.
        trained: sums of the training calls in the current epoch.
        evaluated: sums of the calls without gradients in the current epoch.
        gets_probabilities: True if the loss got probabilities instead of logits or log-probabilities.
        is_finite: True if every loss was finite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start: FirstLoss | None = None
        self.trained = EpochSums()
        self.evaluated = EpochSums()
        self.gets_probabilities = False
        self.is_finite = True

    def next_epoch(self) -> tuple[EpochSums, EpochSums]:
        """Return the sums of training and evaluation since the last call, and reset them."""
        trained, evaluated = self.trained, self.evaluated
        self.trained, self.evaluated = EpochSums(), EpochSums()
        return trained, evaluated

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the function, and record the call if it is a loss."""
        result = func(*args, **(kwargs or {}))
        if func in _KINDS:
            self._record_call(func, args, kwargs or {}, result)
        return result

    def _record_call(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any
    ) -> None:
        predicted, target = (*args, *(kwargs[name] for name in ("input", "target") if name in kwargs))[:2]
        predicted, target, kind = predicted.detach(), target.detach(), _KINDS[func]
        if self.start is not None and kind != self.start.kind:  # an auxiliary loss
            return
        loss = _mean(result.detach(), n=len(predicted), reduction=kwargs.get("reduction", "mean"))
        if not torch.is_grad_enabled():
            _add(self.evaluated, func, predicted, target, loss=loss)
            return
        _add(self.trained, func, predicted, target, loss=loss)
        self.is_finite = self.is_finite and math.isfinite(loss)
        self.start = self.start or _start(kind, predicted, target, loss=loss)
        self.gets_probabilities = self.gets_probabilities or _are_probabilities(func, predicted)


def _mean(loss: Tensor, *, n: int, reduction: str) -> float:
    return loss.sum().item() / n if reduction == "sum" else loss.mean().item()


def _add(into: EpochSums, func: Any, predicted: Tensor, target: Tensor, *, loss: float) -> None:
    n, kind = len(predicted), _KINDS[func]
    into.kind, into.n, into.calls, into.loss_sum = kind, into.n + n, into.calls + 1, into.loss_sum + loss * n
    if kind == VALUES:
        values = target.to(torch.float64)
        into.targets_sum += values.sum().item()
        into.squares_sum += values.square().sum().item()
        into.n_targets += values.numel()
        return
    if kind == CLASSES:
        at = 1 if predicted.dim() > 1 else 0
        wanted = target.argmax(at) if target.is_floating_point() else target
        right = predicted.argmax(at) == wanted
    else:
        right = (predicted > (0 if func is functional.binary_cross_entropy_with_logits else 0.5)) == (target > 0.5)
    into.n_right = (into.n_right or 0) + int(right.sum())
    into.n_classified += right.numel()


def _start(kind: str, predicted: Tensor, target: Tensor, *, loss: float) -> FirstLoss:
    if kind == VALUES:
        variance = target.to(torch.float64).var(correction=0).item() if target.numel() >= MIN_FOR_VARIANCE else 0.0
        return FirstLoss(kind, loss, variance or None, None)
    n_classes = predicted.shape[1 if predicted.dim() > 1 else 0] if kind == CLASSES else 2
    return FirstLoss(kind, loss, math.log(n_classes) if n_classes > 1 else None, n_classes)


def _are_probabilities(func: Any, predicted: Tensor) -> bool:
    """Return True if a softmax precedes a loss that applies one itself, or if a logarithm is missing."""
    at = 1 if predicted.dim() > 1 else 0
    if func is _TAKES_LOG_PROBABILITIES:
        return bool((predicted > 0).any())
    if func is not _TAKES_LOGITS or predicted.shape[at] < 2:
        return False
    sums = predicted.sum(at)
    return bool((predicted >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-4))
