"""The gradients and the applied step of one update."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tunefleet.protocol.telemetry import MAX_NAME, MAX_TENSORS
from tunefleet_worker.watching.measures import PARAMETER_SAMPLE, dense, fetched, norm, sample

_WRAPPERS = frozenset({"module", "_orig_mod"})  # DataParallel's and torch.compile's


def plain_name(name: str) -> str:
    """Return a parameter's or module's name without the prefixes of wrappers."""
    parts = name.split(".")
    while parts and parts[0] in _WRAPPERS:
        parts.pop(0)
    return ".".join(parts)[-MAX_NAME:]


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the trainable parameters, each once, with their plain names."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not is_lazy(parameter) and parameter.layout is torch.strided:
            yield plain_name(name), parameter


@dataclass(frozen=True, slots=True)
class TensorUpdate:
    """The change of one parameter, or of several together, by one update.

    Attributes:
        tensors: number of parameters.
        ratio: norm of the change divided by the norm of the weights; None where all weights were 0.
    """

    name: str
    shape: tuple[int, ...]
    tensors: int
    ratio: float | None


class UpdateProbe:
    """Measures one update: create it before the backward pass, call `snapshot` before the step, `measure` after it."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = list(trainable(model))
        self._gradients: dict[nn.Parameter, Tensor] = {}
        self._before: list[Tensor] = []
        self._handles = [
            parameter.register_post_accumulate_grad_hook(self._note)  # type: ignore[no-untyped-call]
            for _, parameter in self._parameters
        ]

    @property
    def has_snapshot(self) -> bool:
        """True after `snapshot`."""
        return bool(self._before)

    def snapshot(self) -> None:
        """Copy a bounded sample of each weight."""
        self._before = [sample(parameter, PARAMETER_SAMPLE).clone() for _, parameter in self._parameters]

    def measure(self) -> tuple[float | None, list[TensorUpdate]]:
        """Return the gradients' norm, None without gradients, and the change of each parameter."""
        after = [sample(parameter, PARAMETER_SAMPLE) for _, parameter in self._parameters]
        changes = [new - old for new, old in zip(after, self._before, strict=True)]
        numbers = fetched([*map(norm, changes), *map(norm, self._before), *self._gradients.values()])
        n = len(self._parameters)
        gradients = numbers[2 * n :]
        total = math.hypot(*gradients) if gradients else None
        return total, self._listed(numbers[:n], numbers[n : 2 * n])

    def close(self) -> None:
        """Remove the hooks; safe to call twice."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _note(self, parameter: Tensor) -> None:
        """Record the norm of a new gradient; the last one before the step counts, before any clipping."""
        if parameter.grad is not None:
            self._gradients[parameter] = norm(dense(parameter.grad))  # type: ignore[index]  # hooks get parameters

    def _listed(self, changes: list[float], weights: list[float]) -> list[TensorUpdate]:
        """Return the largest tensors one by one in the model's order, and the rest as one."""
        n = len(self._parameters)
        kept = n if n <= MAX_TENSORS else MAX_TENSORS - 1
        by_size = sorted(range(n), key=lambda at: -self._parameters[at][1].numel())
        listed, rest = sorted(by_size[:kept]), by_size[kept:]
        updates = [
            TensorUpdate(name, tuple(parameter.shape), 1, _ratio(changes[at], weights[at]))
            for at in listed
            for name, parameter in [self._parameters[at]]
        ]
        if rest:
            ratio = _ratio(*(math.hypot(*(norms[at] for at in rest)) for norms in (changes, weights)))
            updates.append(TensorUpdate(f"({len(rest)} smaller tensors)", (), len(rest), ratio))
        return updates


def _ratio(change: float, weight: float) -> float | None:
    return change / weight if weight != 0 else None
