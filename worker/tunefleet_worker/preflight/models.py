"""Recorder of the models and optimizers that a function passes to `trial.epochs`, by torch's hooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.hooks import RemovableHandle

MAX_RECORDED_UPDATES = 20  # later updates show no new faults of the gradients


class ModelRecorder:
    """Records modules and optimizers of torch until `close`; ignores other objects.

    Attributes:
        n_updates: number of optimizer steps.
        example: arguments of the first model's first call; None before it.
    """

    def __init__(self, objects: Iterable[Any]) -> None:
        objects = list(objects)
        self._models = [item for item in objects if isinstance(item, nn.Module)]
        self._optimizers = [item for item in objects if isinstance(item, Optimizer)]
        named = [pair for model in self._models for pair in model.named_parameters()]
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in named}
        self._before = {parameter: parameter.detach().clone() for parameter in self._names}
        self._statistics = {
            name: (module, module.num_batches_tracked.clone())
            for model in self._models
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm) and module.num_batches_tracked is not None
        }
        self.n_updates = 0
        self.example: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._reached: set[Tensor] = set()
        self._in_this_update: set[Tensor] = set()
        self._stale: set[Tensor] = set()
        self._hooks: list[RemovableHandle] = []
        self._install()

    @property
    def has_optimizer(self) -> bool:
        """True if there is a model and an optimizer."""
        return bool(self._models and self._optimizers)

    @property
    def inputs_are_alike(self) -> bool:
        """True if all samples of the first model's first batch were equal."""
        tensors = [it for it in tree_leaves(self.example) if isinstance(it, Tensor) and it.dim() and len(it) > 1]
        return bool(tensors) and all(bool((it == it[:1]).all()) for it in tensors)

    @property
    def frozen(self) -> list[str]:
        """Tensors of the models that require no gradient."""
        return [name for parameter, name in self._names.items() if not parameter.requires_grad]

    @property
    def unreached(self) -> list[str]:
        """Trainable tensors without a nonzero gradient at any optimizer step."""
        return [name for parameter, name in self._trainable() if parameter not in self._reached]

    @property
    def unmoved(self) -> list[str]:
        """Tensors of the optimizers that got gradients and still have their initial values."""
        held, before = self._held(), self._before
        return [
            name
            for parameter, name in self._trainable()
            if parameter in held and parameter in self._reached and torch.equal(parameter.detach(), before[parameter])
        ]

    @property
    def not_held(self) -> list[str]:
        """Trainable tensors that no optimizer holds."""
        held = self._held()
        return [name for parameter, name in self._trainable() if parameter not in held]

    @property
    def stale(self) -> list[str]:
        """Tensors of the optimizer with a gradient left over from the previous update."""
        return [self._names[parameter] for parameter in self._stale & self._held()]

    @property
    def idle_statistics(self) -> list[str]:
        """Batch normalisations that still have their initial statistics."""
        return [
            name
            for name, (module, before) in self._statistics.items()
            if torch.equal(module.num_batches_tracked, before) and before == 0  # type: ignore[arg-type]
        ]

    def outputs(self) -> Any:
        """Return the first model's outputs for its first inputs, in evaluation mode; None if it was never called."""
        if self.example is None:
            return None
        model, (args, kwargs) = self._models[0], self.example
        was_training = model.training
        model.eval()
        with torch.no_grad():
            found = model(*args, **kwargs)
        model.train(was_training)
        return found

    def blind(self) -> None:
        """Replace all inputs of the first model by zeros from now on."""
        if self._models:
            self._hooks.append(self._models[0].register_forward_pre_hook(_with_zeros, with_kwargs=True))

    def close(self) -> None:
        """Remove all hooks."""
        for hook in self._hooks:
            hook.remove()

    def _held(self) -> set[Tensor]:
        return {parameter for it in self._optimizers for group in it.param_groups for parameter in group["params"]}

    def _trainable(self) -> Iterable[tuple[Tensor, str]]:
        return ((parameter, name) for parameter, name in self._names.items() if parameter.requires_grad)

    def _install(self) -> None:
        if self._models:
            self._hooks.append(self._models[0].register_forward_pre_hook(self._record_call, with_kwargs=True))
        for optimizer in self._optimizers:
            self._hooks.append(optimizer.register_step_pre_hook(self._record_step))
        if len(self._optimizers) == 1:  # with several optimizers, gradients may be shared on purpose
            for parameter, _ in self._trainable():
                self._hooks.append(parameter.register_hook(self._gradient_hook(parameter)))  # type: ignore[no-untyped-call]

    def _record_call(self, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self.example is None:
            self.example = tree_map(_copied, (args, dict(kwargs)))

    def _gradient_hook(self, parameter: Tensor) -> Any:
        """Return a hook for a parameter's gradient; it runs before the gradient is accumulated."""

        def record_gradient(gradient: Tensor) -> None:
            if not 0 < self.n_updates <= MAX_RECORDED_UPDATES or parameter in self._in_this_update:
                return
            self._in_this_update.add(parameter)
            if parameter.grad is not None and bool(parameter.grad.any()):
                self._stale.add(parameter)

        return record_gradient

    def _record_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.n_updates += 1
        self._in_this_update.clear()
        if self.n_updates > MAX_RECORDED_UPDATES:
            return
        for parameter, _ in self._trainable():
            if parameter.grad is not None and bool(parameter.grad.any()):
                self._reached.add(parameter)


def _copied(item: Any) -> Any:
    return item.detach().clone() if isinstance(item, Tensor) else item


def _with_zeros(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    zeroed: tuple[Any, Any] = tree_map(_zeroed, (args, dict(kwargs)))
    return zeroed


def _zeroed(item: Any) -> Any:
    return torch.zeros_like(item) if isinstance(item, Tensor) else item
