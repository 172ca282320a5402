"""How far each layer of a network takes the classes apart: whether more layers would help, before they are trained.

The generalised discrimination value of Schilling et al. 2018, "How deep is deep enough?" (arXiv:1811.01753, version 1).
With activations of D units, z-scored over all samples and halved, and C_1 ... C_L the samples of each class,

    GDV = (mean distance within a class, over classes - mean distance between two classes, over pairs) / sqrt(D)

It is 0 where the classes are mixed and -1 where they are points, and does not change when units are scaled or permuted.
Where it no longer falls from layer to layer, those layers do not help to tell the classes apart. Version 2 of the paper
has another title and another claim (separability falls first in deep networks): look at it beside the validation score,
and do not choose a depth by it alone.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from tunefleet_worker.training.samples import Samples

MAX_SAMPLES = 1_000  # of which all pairs are compared


def discrimination_value(activations: Tensor, labels: Tensor) -> float:
    """The GDV of activations (n, ...) with labels, int64 (n,).

    Raises:
        ValueError: fewer than two classes have two samples or more.
    """
    classes = torch.nonzero(labels.bincount() > 1).flatten()
    kept = torch.isin(labels, classes)
    members = torch.searchsorted(classes, labels[kept])
    if len(classes) < 2:
        raise ValueError("separability is of two classes or more, with two samples each at least")
    scored = _z_scored(activations[kept].flatten(1).double()) / 2
    belongs = functional.one_hot(members).double()
    sums = belongs.T @ torch.cdist(scored, scored) @ belongs
    n = belongs.sum(0)
    within = (sums.diagonal() / (n * (n - 1))).mean()
    pairs = torch.triu_indices(len(classes), len(classes), offset=1)
    between = (sums / torch.outer(n, n))[pairs[0], pairs[1]].mean()
    return float((within - between) / scored.shape[1] ** 0.5)


def layer_separability(model: nn.Module, samples: Samples) -> dict[str, float]:
    """The GDV of the inputs (`input`) and of what each layer makes of them, in evaluation, in the order of the calls.

    A layer is a module without modules in it. The model is left as it was; at most 1,000 samples are looked at.

    Raises:
        ValueError: as `discrimination_value` does.
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
    """What a hook is given of a call is the layer, its inputs and its output."""
    outputs[name] = call[-1]


def _z_scored(values: Tensor) -> Tensor:
    """Each column with mean 0 and deviation 1; one that never changes is 0."""
    deviation = values.std(0, correction=0)
    return (values - values.mean(0)) / torch.where(deviation > 0, deviation, 1.0)
