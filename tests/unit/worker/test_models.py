"""The built-in networks accept every input and start near a guess; their optimizers decay only weights."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tunefleet.catalogue.optimizers import IN_BATCHES, PRESETS
from tunefleet.errors import InvalidInput
from tunefleet_worker.tasks.models import ModelConfig, Residual, build_model
from tunefleet_worker.training.epochs import score, shuffled_batches, train_epoch
from tunefleet_worker.training.optimizers import UnknownOptimizer, build_optimizer
from tunefleet_worker.training.samples import Samples

SHAPES = [(1, 40), (1, 8, 8), (3, 28, 28), (2, 1, 5)]


def config(**changes: Any) -> ModelConfig:
    return ModelConfig.parse({"kind": "cnn", "input_shape": (1, 8, 8), "classes": 10, "width": 8, **changes})


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize("depth", [1, 6])
@pytest.mark.parametrize("residual", [False, True])
def test_any_network_takes_any_input_and_learns_in_every_layer(
    kind: str, shape: tuple[int, ...], normalization: str, depth: int, residual: bool
) -> None:
    torch.manual_seed(0)
    shaped = config(kind=kind, input_shape=shape, normalization=normalization, depth=depth, dropout=0.1)
    model = build_model(shaped.model_copy(update={"residual": residual}))
    logits = model(torch.randn(4, *shape))
    logits.square().sum().backward()
    assert logits.shape == (4, 10)
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("activation", "layer"), [("relu", nn.ReLU), ("gelu", nn.GELU), ("silu", nn.SiLU), ("tanh", nn.Tanh)]
)
def test_activation_stands_behind_every_hidden_layer(activation: str, layer: type[nn.Module]) -> None:
    for kind, residual in (("mlp", False), ("cnn", False), ("mlp", True), ("cnn", True)):
        model = build_model(config(kind=kind, activation=activation, depth=3, residual=residual))
        assert sum(isinstance(module, layer) for module in model.modules()) == 3


def test_normalization_layers_are_of_the_kind_that_is_asked_for() -> None:
    expected = {
        ("cnn", "batch"): nn.BatchNorm2d,
        ("cnn", "layer"): nn.GroupNorm,
        ("mlp", "batch"): nn.BatchNorm1d,
        ("mlp", "layer"): nn.LayerNorm,
    }
    for (kind, normalization), layer in expected.items():
        model = build_model(config(kind=kind, normalization=normalization, depth=2))
        assert sum(isinstance(module, layer) for module in model.modules()) == 2


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_residual_blocks_begin_as_their_shortcuts_and_have_gradients(kind: str, normalization: str) -> None:
    torch.manual_seed(0)
    model = build_model(config(kind=kind, normalization=normalization, depth=5, residual=True))
    blocks = [module for module in model.modules() if isinstance(module, Residual)]
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    for block in blocks:
        block.register_forward_hook(lambda it, given, out: seen.append((it.shortcut(given[0]), out)))
    model(torch.randn(4, 1, 8, 8)).square().sum().backward()
    assert len(seen) == 4
    assert all(torch.equal(shortcut, out) for shortcut, out in seen)
    last = [block.branch[-1].get_parameter("weight") for block in blocks]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in last)


def test_signals_get_one_dimensional_convolutions() -> None:
    model = build_model(config(input_shape=(1, 40), depth=2))
    assert sum(isinstance(module, nn.Conv1d) for module in model.modules()) == 2


def test_dropout_is_there_only_when_it_drops() -> None:
    assert not any(isinstance(module, nn.Dropout) for module in build_model(config()).modules())
    assert any(isinstance(module, nn.Dropout) for module in build_model(config(dropout=0.5)).modules())


def test_wider_and_deeper_networks_have_more_parameters() -> None:
    for kind in ("mlp", "cnn"):
        sizes = [
            parameters(build_model(config(kind=kind, depth=depth, width=width)))
            for depth, width in ((1, 8), (2, 8), (2, 16))
        ]
        assert all(small < large for small, large in pairwise(sizes))


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_first_loss_is_that_of_a_guess(kind: str, normalization: str, activation: str) -> None:
    torch.manual_seed(0)
    shape = config(kind=kind, normalization=normalization, activation=activation, depth=4, width=32)
    logits = build_model(shape)(torch.randn(256, 1, 8, 8))
    loss = functional.cross_entropy(logits, torch.arange(256) % 10).item()
    assert loss == pytest.approx(math.log(10), rel=0.2)


def test_config_comes_back_from_json_as_it_was() -> None:
    shape = config(depth=5, activation="silu", dropout=0.25, normalization="layer")
    assert ModelConfig.model_validate_json(shape.model_dump_json()) == shape


@pytest.mark.parametrize(
    ("key", "value"),
    [("kind", "vit"), ("activation", "step"), ("normalization", "group"), ("dropout", 1.0), ("depth", 0), ("width", 0)],
)
def test_config_out_of_range_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=key):
        config(**{key: value})


@pytest.mark.parametrize("name", IN_BATCHES)
def test_every_optimizer_learns_and_leaves_biases_and_norms_undecayed(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(config(kind="mlp"))
    optimizer = build_optimizer(name, model, lr=PRESETS[name].default, weight_decay=0.1)
    samples = Samples(torch.randn(64, 1, 8, 8), torch.arange(64) % 10)
    before = score(model, samples).loss
    for _ in range(10):
        train_epoch(model, samples, optimizer=optimizer, batch_size=16)
    *decayed, spared = optimizer.param_groups
    assert score(model, samples).loss < before
    assert {group["weight_decay"] for group in decayed} == {0.1}
    assert spared["weight_decay"] == 0.0
    assert {parameter.dim() for group in decayed for parameter in group["params"]} == {2}
    assert {parameter.dim() for parameter in spared["params"]} == {1}


def test_momentum_reaches_sgd() -> None:
    optimizer = build_optimizer("sgd", nn.Linear(2, 2), lr=0.1, momentum=0.5)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.5}


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert [len(group["params"]) for group in build_optimizer("adam", model, lr=0.1).param_groups] == [1]


def test_unknown_optimizer_is_refused_with_what_was_meant() -> None:
    with pytest.raises(UnknownOptimizer, match="no optimizer 'adamv'; did you mean 'adam"):
        build_optimizer("adamv", nn.Linear(1, 1), lr=0.1)


@pytest.mark.parametrize(
    ("n_samples", "sizes"), [(10, [4, 4, 2]), (8, [4, 4]), (9, [4, 5]), (3, [3]), (1, [1]), (5, [5])], ids=str
)
def test_batches_hold_every_sample_once_and_none_is_alone(n_samples: int, sizes: list[int]) -> None:
    batches = list(shuffled_batches(n_samples, 4))
    assert [len(batch) for batch in batches] == sizes
    assert sorted(torch.cat(batches).tolist()) == list(range(n_samples))


def test_training_score_is_the_mean_over_all_samples() -> None:
    torch.manual_seed(0)
    model = build_model(config(kind="mlp", normalization="none"))
    samples = Samples(torch.randn(50, 1, 8, 8), torch.arange(50) % 10)
    optimizer = build_optimizer("sgd", model, lr=0.0)
    trained, scored = train_epoch(model, samples, optimizer=optimizer, batch_size=16), score(model, samples)
    assert trained.loss == pytest.approx(scored.loss, rel=1e-5)
    assert trained.accuracy == scored.accuracy
