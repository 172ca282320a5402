"""Separability and loss plane of trained networks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.unit.worker.trained import network, parts, train
from torch import nn

from tunefleet_worker.looking.separability import layer_separability
from tunefleet_worker.training.landscape import loss_plane


@pytest.mark.slow
def test_separability_of_a_trained_network_falls_from_layer_to_layer_and_then_stays() -> None:
    samples = parts("digits")[0]
    model = network(kind="mlp", input_shape=(1, 8, 8), width=64, depth=8)
    untrained = list(layer_separability(model, samples).values())
    train(model, data=samples, epochs=30, lr=1e-3, optimizer="adam", batch_size=64)
    of_layers = layer_separability(model, samples)
    activations = [of_layers[name] for name, layer in model.named_modules() if isinstance(layer, nn.ReLU)]
    assert of_layers["input"] == pytest.approx(-0.14, abs=0.02)
    assert min(untrained) > of_layers["input"] - 0.05
    assert all(before > behind for before, behind in pairwise(activations))
    assert activations[-1] < -0.35
    assert activations[-2] - activations[-1] < 0.3 * (activations[0] - activations[2])


@pytest.mark.slow
def test_the_landscape_of_a_deep_network_is_smoother_with_residual_blocks() -> None:
    samples = parts()[0]
    seen = {}
    for residual in (False, True):
        model = network(kind="mlp", width=64, depth=40, normalization="batch", residual=residual)
        train(model, epochs=10, lr=1e-3, optimizer="adam", batch_size=100)
        seen[residual] = loss_plane(model, samples.drawn(1_000))
    assert seen[True].roughness < seen[False].roughness
    assert seen[True].n_minima <= seen[False].n_minima
