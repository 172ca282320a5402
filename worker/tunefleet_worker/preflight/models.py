"""What training does to the models and optimizers that a function passes to `trial.epochs`, seen by hooks of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.hooks import RemovableHandle

N_LOOKED_AT = 20  # updates whose gradients are looked at: what is wrong with them is wrong from the beginning


class ModelRecorder:
    """Watches some objects until `close`; those that are neither modules nor optimizers of torch are left alone.

    Attributes:
        n_updates: steps of the optimizers.
        example: the arguments of the first model's first call, None before.
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
        """Whether a model and an optimizer are watched."""
        return bool(self._models and self._optimizers)

    @property
    def inputs_are_alike(self) -> bool:
        """Whether the first model saw the same inputs for every sample of its first batch."""
        tensors = [it for it in tree_leaves(self.example) if isinstance(it, Tensor) and it.dim() and len(it) > 1]
        return bool(tensors) and all(bool((it == it[:1]).all()) for it in tensors)

    @property
    def frozen(self) -> list[str]:
        """Tensors of the models that ask for no gradient."""
        return [name for parameter, name in self._names.items() if not parameter.requires_grad]

    @property
    def unreached(self) -> list[str]:
        """Trainable tensors that no gradient other than zero has reached, when their optimizer took a step."""
        return [name for parameter, name in self._trainable() if parameter not in self._reached]

    @property
    def unmoved(self) -> list[str]:
        """Tensors that the optimizers have, that gradients reach, and that are what they were at the beginning."""
        held, before = self._held(), self._before
        return [
            name
            for parameter, name in self._trainable()
            if parameter in held and parameter in self._reached and torch.equal(parameter.detach(), before[parameter])
        ]

    @property
    def not_held(self) -> list[str]:
        """Trainable tensors that none of the optimizers has."""
        held = self._held()
        return [name for parameter, name in self._trainable() if parameter not in held]

    @property
    def stale(self) -> list[str]:
        """Tensors of the optimizer whose gradient still held the last update's when the next one began."""
        return [self._names[parameter] for parameter in self._stale & self._held()]

    @property
    def idle_statistics(self) -> list[str]:
        """Batch normalisations with the statistics that they were made with: they normalise nothing."""
        return [
            name
            for name, (module, before) in self._statistics.items()
            if torch.equal(module.num_batches_tracked, before) and before == 0  # type: ignore[arg-type]
        ]

    def outputs(self) -> Any:
        """What the first model makes of its first inputs now, in evaluation mode; None where it was never called."""
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
        """From now on, give the first model nothing but zeros."""
        if self._models:
            self._hooks.append(self._models[0].register_forward_pre_hook(_blinded, with_kwargs=True))

    def close(self) -> None:
        """Take all hooks away."""
        for hook in self._hooks:
            hook.remove()

    def _held(self) -> set[Tensor]:
        return {parameter for it in self._optimizers for group in it.param_groups for parameter in group["params"]}

    def _trainable(self) -> Iterable[tuple[Tensor, str]]:
        return ((parameter, name) for parameter, name in self._names.items() if parameter.requires_grad)

    def _install(self) -> None:
        if self._models:
            self._hooks.append(self._models[0].register_forward_pre_hook(self._called, with_kwargs=True))
        for optimizer in self._optimizers:
            self._hooks.append(optimizer.register_step_pre_hook(self._stepped))
        if len(self._optimizers) == 1:  # several may share tensors, whose gradients then mean other things
            for parameter, _ in self._trainable():
                self._hooks.append(parameter.register_hook(self._arrival(parameter)))  # type: ignore[no-untyped-call]

    def _called(self, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self.example is None:
            self.example = tree_map(_copied, (args, dict(kwargs)))

    def _arrival(self, parameter: Tensor) -> Any:
        """What is done when a gradient comes to a parameter, before it is added to what is there."""

        def arrived(gradient: Tensor) -> None:
            if not 0 < self.n_updates <= N_LOOKED_AT or parameter in self._in_this_update:
                return
            self._in_this_update.add(parameter)
            if parameter.grad is not None and bool(parameter.grad.any()):
                self._stale.add(parameter)

        return arrived

    def _stepped(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.n_updates += 1
        self._in_this_update.clear()
        if self.n_updates > N_LOOKED_AT:
            return
        for parameter, _ in self._trainable():
            if parameter.grad is not None and bool(parameter.grad.any()):
                self._reached.add(parameter)


def _copied(item: Any) -> Any:
    return item.detach().clone() if isinstance(item, Tensor) else item


def _blinded(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    zeroed: tuple[Any, Any] = tree_map(_zeroed, (args, dict(kwargs)))
    return zeroed


def _zeroed(item: Any) -> Any:
    return torch.zeros_like(item) if isinstance(item, Tensor) else item
