"""What goes into torch's loss functions while a training function runs, whoever wrote it.

torch hands every call of its functions to the mode that is active. So the loss, the predictions and the targets of the
training itself can be looked at, and not what the function says of them.
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

MIN_FOR_VARIANCE = 8  # targets; the variance of fewer says little

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
    """The first loss of a training: its value, and that of a guess which knows nothing of the inputs.

    `guess` is ln(classes) in nats, or the variance of the targets; None when the batch does not tell.
    """

    kind: str
    loss: float
    guess: float | None
    n_classes: int | None


@dataclass(slots=True)
class EpochSums:
    """What went into the loss during one epoch: sums over `n` samples."""

    n: int = 0
    calls: int = 0
    loss_sum: float = 0.0
    n_right: int | None = None
    """Predictions that are right; None where classes are not told apart."""
    n_told: int = 0
    """Predictions that `n_right` counts the right ones of."""
    targets_sum: float = 0.0
    squares_sum: float = 0.0
    n_targets: int = 0
    kind: str = ""

    @property
    def loss(self) -> float:
        """The mean; NaN without a sample."""
        return self.loss_sum / self.n if self.n else math.nan

    @property
    def accuracy(self) -> float | None:
        """The share of right predictions; None where classes are not told apart."""
        return None if self.n_right is None or not self.n_told else self.n_right / self.n_told

    @property
    def r2(self) -> float | None:
        """1 - MSE / Var(y); None where no values are predicted."""
        if self.kind != VALUES or self.n_targets < MIN_FOR_VARIANCE:
            return None
        mean = self.targets_sum / self.n_targets
        variance = self.squares_sum / self.n_targets - mean * mean
        return 1.0 - self.loss / variance if variance > 0 else None


class LossRecorder(TorchFunctionMode):
    """Sees every call of a loss function of torch inside its `with` block.

    Attributes:
        start: the first loss of training; None before, and where torch's loss functions are not used.
        trained: the epoch of training that is being seen.
        judged: predictions with known targets that nothing was learned from, in this epoch.
        gets_probabilities: whether the loss got probabilities in the place of what it takes.
        is_finite: whether every loss was a number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start: FirstLoss | None = None
        self.trained = EpochSums()
        self.judged = EpochSums()
        self.gets_probabilities = False
        self.is_finite = True

    def next_epoch(self) -> tuple[EpochSums, EpochSums]:
        """What was trained and judged since the last call, which is counted anew from here."""
        trained, judged = self.trained, self.judged
        self.trained, self.judged = EpochSums(), EpochSums()
        return trained, judged

    def __torch_function__(
        self, func: Any, types: Iterable[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do what was called, and look at it when it is a loss."""
        result = func(*args, **(kwargs or {}))
        if func in _KINDS:
            self._see(func, args, kwargs or {}, result)
        return result

    def _see(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        predicted, target = (*args, *(kwargs[name] for name in ("input", "target") if name in kwargs))[:2]
        predicted, target, kind = predicted.detach(), target.detach(), _KINDS[func]
        if self.start is not None and kind != self.start.kind:  # an auxiliary loss beside the one that counts
            return
        loss = _mean(result.detach(), n=len(predicted), reduction=kwargs.get("reduction", "mean"))
        if not torch.is_grad_enabled():
            _add(self.judged, func, predicted, target, loss=loss)
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
    into.n_told += right.numel()


def _start(kind: str, predicted: Tensor, target: Tensor, *, loss: float) -> FirstLoss:
    if kind == VALUES:
        variance = target.to(torch.float64).var(correction=0).item() if target.numel() >= MIN_FOR_VARIANCE else 0.0
        return FirstLoss(kind, loss, variance or None, None)
    n_classes = predicted.shape[1 if predicted.dim() > 1 else 0] if kind == CLASSES else 2
    return FirstLoss(kind, loss, math.log(n_classes) if n_classes > 1 else None, n_classes)


def _are_probabilities(func: Any, predicted: Tensor) -> bool:
    """Whether a softmax was applied to what the loss applies one to itself, or a logarithm was left out."""
    at = 1 if predicted.dim() > 1 else 0
    if func is _TAKES_LOG_PROBABILITIES:
        return bool((predicted > 0).any())
    if func is not _TAKES_LOGITS or predicted.shape[at] < 2:
        return False
    sums = predicted.sum(at)
    return bool((predicted >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-4))
