"""Separability of the classes after each layer of a network: an indication whether more layers would help.

The generalised discrimination value of Schilling et al. 2018, "How deep is deep enough?" (arXiv:1811.01753, version 1).
With activations of D units, z-scored over all samples and halved, and C_1 ... C_L the samples of each class,

    GDV = (mean distance within a class, over classes - mean distance between two classes, over pairs) / sqrt(D)

It is 0 if the classes are mixed and -1 if each class is a point; scaling or permuting units does not change it. Layers
after which it no longer falls do not help to separate the classes. Version 2 of the paper has another title and another
claim (separability first falls in deep networks): use the value together with the validation score, never alone.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunefleet_worker.training.samples import Samples

MAX_SAMPLES = 1_000  # all pairs are compared


def discrimination_value(activations: Tensor, labels: Tensor) -> float:
    """Return the GDV of activations (n, ...) with labels, int64 (n,).

    Raises:
        ValueError: fewer than two classes have at least two samples.
    """
    classes = torch.nonzero(labels.bincount() > 1).flatten()
    kept = torch.isin(labels, classes)
    members = torch.searchsorted(classes, labels[kept])
    if len(classes) < 2:
        raise ValueError("separability needs at least two classes with at least two samples each")
    scored = _z_scored(activations[kept].flatten(1).double()) / 2
    belongs = functional.one_hot(members).double()
    sums = belongs.T @ torch.cdist(scored, scored) @ belongs
    n = belongs.sum(0)
    within = (sums.diagonal() / (n * (n - 1))).mean()
    pairs = torch.triu_indices(len(classes), len(classes), offset=1)
    between = (sums / torch.outer(n, n))[pairs[0], pairs[1]].mean()
    return float((within - between) / scored.shape[1] ** 0.5)


def layer_separability(model: nn.Module, samples: Samples) -> dict[str, float]:
    """Return the GDV of the inputs (`input`) and of each layer's output in evaluation mode, in the order of calls.

    A layer is a module without submodules. The model is not changed; at most 1,000 samples are used.

    Raises:
        ValueError: see `discrimination_value`.
    """
    seen = samples.drawn(MAX_SAMPLES)
    found = {"input": discrimination_value(seen.inputs, seen.labels)}
    outputs: dict[str, object] = {}
    hooks = [
        layer.register_forward_hook(partial(_keep, outputs, name))
        for name, layer in model.named_modules()
        if not list(layer.children())
    ]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(seen.inputs)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    for name, output in outputs.items():
        if isinstance(output, Tensor) and len(output) == len(seen):
            found[name] = discrimination_value(output, seen.labels)
    return found


def _keep(outputs: dict[str, object], name: str, *call: object) -> None:
    """Store a layer's output; a hook gets the layer, its inputs and its output."""
    outputs[name] = call[-1]


def _z_scored(values: Tensor) -> Tensor:
    """Return the columns scaled to mean 0 and deviation 1; a constant column becomes 0."""
    deviation = values.std(0, correction=0)
    return (values - values.mean(0)) / torch.where(deviation > 0, deviation, 1.0)
