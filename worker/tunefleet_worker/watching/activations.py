"""Layer outputs for one training batch: moments, dead units and saturated units.

A ReLU unit that is zero for a whole batch gets no gradient; a tanh or sigmoid unit near the end of its range passes on
almost none (Bengio 2012, arXiv:1206.5533, section 3.1; Glorot and Bengio 2010). A unit is a feature of a dense layer,
or a channel of a convolution.

Activations are observed as modules and as functions (`torch.relu(x)`, `x.tanh()`), and named after the layer before
them: `conv1.relu`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from tunefleet.protocol.telemetry import MAX_LAYERS
from tunefleet_worker.watching.measures import OUTPUT_SAMPLE, fetched, moments, sample
from tunefleet_worker.watching.updates import plain_name

Kind = Literal["layer", "relu", "tanh", "sigmoid"]

SATURATED = 0.97
MAX_MODULES = MAX_LAYERS // 2  # each followed by an activation

FUNCTIONS: Mapping[Any, Kind] = {
    **dict.fromkeys((functional.relu, functional.relu6, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), "relu"),
    **dict.fromkeys((torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_), "tanh"),
    **dict.fromkeys((torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, torch.special.expit), "sigmoid"),
}
_CHANNELS_FIRST = (_ConvNd, _NormBase, nn.GroupNorm)
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True, slots=True)
class LayerOutput:
    """One output over a batch; see tunefleet.protocol.telemetry.WatchedLayer for `idle`."""

    name: str
    kind: Kind
    mean: float
    std: float
    idle: float | None


class ActivationProbe:
    """Observes the first training forward pass after its creation, until it is closed."""

    def __init__(self, model: nn.Module) -> None:
        self.samples: int | None = None
        self._input: Tensor | None = None
        self._has_input = False
        self.notes: list[str] = []
        self._seen: dict[tuple[str, Kind], _Seen] = {}
        self._last_layer, self._axis = "input", -1
        self._mode: _Functions | None = None
        self._handles: list[RemovableHandle] = []
        if is_compiled(model):
            self.notes.append("the layers' outputs are not observed: the model is compiled and runs no hooks.")
        else:
            self._attach(model)

    def measure(self) -> list[LayerOutput]:
        """Return the outputs in the order of the model's computation."""
        idle = iter(fetched([seen.idle for seen in self._seen.values() if seen.idle is not None]))
        found = moments([seen.sample for seen in self._seen.values()])
        return [
            LayerOutput(name, kind, mean, std, next(idle) if seen.idle is not None else None)
            for ((name, kind), seen), (mean, std) in zip(self._seen.items(), found, strict=True)
        ]

    def close(self) -> None:
        """Remove the hooks; safe to call twice."""
        self._leave()
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def note(self, kind: Kind, output: Tensor) -> None:
        """Record the output of an activation function."""
        self._record(f"{self._last_layer}.{kind}", kind, output)

    def _attach(self, model: nn.Module) -> None:
        layers = [(plain_name(name), module) for name, module in model.named_modules() if _has_own_parameters(module)]
        every = -(-len(layers) // MAX_MODULES)
        if every > 1:
            self.notes.append(f"the model has {len(layers)} layers; one in {every} is observed.")
        self._handles = [module.register_forward_hook(_LayerHook(self, name)) for name, module in layers[:: every or 1]]
        self._handles.append(model.register_forward_pre_hook(self._enter, with_kwargs=True))
        self._handles.append(model.register_forward_hook(self._leave, always_call=True))

    def _enter(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if is_training(model) and self._mode is None and self.samples is None:
            inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.dim()]
            self.samples = len(inputs[0]) if inputs else None
            self._mode = _Functions(self)
            self._mode.__enter__()  # type: ignore[no-untyped-call]

    def _leave(self, *_: object) -> None:
        if self._mode is not None:
            mode, self._mode = self._mode, None
            mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def input_scale(self) -> float | None:
        """Return the root mean square of the input of the first layer with parameters.

        None if that layer normalises its input, or if the input is not floating-point.
        """
        return None if self._input is None else math.hypot(*moments([self._input])[0])

    def layer(self, module: nn.Module, name: str, *, args: tuple[Any, ...], output: Any) -> None:
        """Record the output of a layer."""
        if not is_training(module):
            return
        if not self._has_input:
            self._has_input = True
            if args and isinstance(args[0], Tensor) and args[0].is_floating_point() and not isinstance(module, _NORMS):
                self._input = sample(args[0], OUTPUT_SAMPLE).clone()
        if not isinstance(output, Tensor):  # a recurrent layer returns its outputs and then its state
            output = next((part for part in output if isinstance(part, Tensor)), None) if _is_row(output) else None
        if isinstance(output, Tensor):
            self._last_layer, self._axis = name or type(module).__name__.lower(), _unit_axis(module)
            self._record(self._last_layer, "layer", output)

    @torch.no_grad()
    def _record(self, name: str, kind: Kind, output: Tensor) -> None:
        if (name, kind) in self._seen or len(self._seen) >= MAX_LAYERS or not output.numel():
            return
        if output.is_floating_point():
            output = output.detach()
            kept = sample(output, OUTPUT_SAMPLE).clone()  # the next operation may be in place
            self._seen[name, kind] = _Seen(kept, self._idle(kind, output, kept))

    def _idle(self, kind: Kind, output: Tensor, kept: Tensor) -> Tensor | None:
        if kind == "relu":
            over = [axis for axis in range(output.dim()) if axis != self._axis % max(output.dim(), 2)]
            return (output.amax(over) <= 0).float().mean()
        if kind == "tanh":
            return (kept.abs() > SATURATED).float().mean()
        if kind == "sigmoid":
            return ((kept > SATURATED) | (kept < 1 - SATURATED)).float().mean()
        return None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A sample of one output, and its share of idle units."""

    sample: Tensor
    idle: Tensor | None


class _LayerHook:
    """A forward hook that knows its layer's name."""

    def __init__(self, probe: ActivationProbe, name: str) -> None:
        self._probe, self._name = probe, name

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        self._probe.layer(module, self._name, args=args, output=output)


class _Functions(TorchFunctionMode):
    """Intercepts all calls of activation functions."""

    def __init__(self, probe: ActivationProbe) -> None:
        super().__init__()
        self._probe = probe

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        kind = FUNCTIONS.get(function)
        if kind is not None and isinstance(output, Tensor):
            self._probe.note(kind, output)
        return output


def is_compiled(model: nn.Module) -> bool:
    """Return True if the model or a part of it is compiled: hooks would break the graph or not run."""
    return any(
        isinstance(module, torch.jit.ScriptModule)
        or "_orig_mod" in module._modules
        or module._compiled_call_impl is not None
        for module in model.modules()
    )


def is_training(module: nn.Module) -> bool:
    """Return True if a forward pass of the module is a training pass now."""
    return module.training and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _has_own_parameters(module: nn.Module) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _is_row(output: Any) -> bool:
    return isinstance(output, tuple | list)


def _unit_axis(module: nn.Module) -> int:
    return 1 if isinstance(module, _CHANNELS_FIRST) else -1
