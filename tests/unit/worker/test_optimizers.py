"""Optimizers by name: Muon for hidden matrices, LBFGS with a closure, states for checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tunefleet.catalogue.optimizers import IN_BATCHES, PRESETS
from tunefleet_worker.checkpoints import load_checkpoint, save_checkpoint
from tunefleet_worker.tasks.models import ModelConfig, build_model
from tunefleet_worker.training.epochs import train_epoch
from tunefleet_worker.training.lbfgs import DecayedLBFGS, whole_batch
from tunefleet_worker.training.muon import MuonWithAdamW, hidden_matrices
from tunefleet_worker.training.optimizers import OPTIMIZERS, build_optimizer
from tunefleet_worker.training.samples import Samples


def network(kind: str = "cnn", *, depth: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return build_model(
        ModelConfig.parse({"kind": kind, "input_shape": (1, 8), "classes": 3, "width": 4, "depth": depth})
    )


def samples(n: int = 24) -> Samples:
    generator = torch.Generator().manual_seed(1)
    return Samples(torch.randn(n, 1, 8, generator=generator), torch.arange(n) % 3)


def test_every_optimizer_has_a_class_and_a_range() -> None:
    assert OPTIMIZERS.keys() == PRESETS.keys()


@pytest.mark.parametrize("name", IN_BATCHES)
def test_resumed_training_equals_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    def begin() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = network()
        return model, build_optimizer(name, model, lr=PRESETS[name].default, weight_decay=0.01, nesterov=True)

    whole, optimizer = begin()
    for _ in range(4):
        train_epoch(whole, samples(), optimizer=optimizer, batch_size=8)
    broken, optimizer = begin()
    for _ in range(2):
        train_epoch(broken, samples(), optimizer=optimizer, batch_size=8)
    save_checkpoint(tmp_path / "it", step=1, objects={"model": broken, "optimizer": optimizer}, progress={})
    resumed, optimizer = begin()
    load_checkpoint(tmp_path / "it", objects={"model": resumed, "optimizer": optimizer})
    for _ in range(2):
        train_epoch(resumed, samples(), optimizer=optimizer, batch_size=8)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_muon_takes_hidden_matrices_alone() -> None:
    model = network(depth=4)
    hidden = hidden_matrices(model)
    assert [tuple(weight.shape) for weight in hidden] == [(8, 4, 5), (16, 8, 5), (16, 16, 5)]
    optimizer = build_optimizer("muon", model, lr=1e-3, weight_decay=0.1)
    ours, rest, spared = optimizer.param_groups
    assert (ours["muon"], rest["muon"], spared["muon"]) == (True, False, False)
    assert {id(it) for it in ours["params"]} == {id(it) for it in hidden}
    assert [tuple(it.shape) for it in rest["params"]] == [(4, 1, 5), (3, 16)]


def test_embeddings_are_not_muons() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    assert [tuple(weight.shape) for weight in hidden_matrices(model)] == [(4, 4)]


def test_networks_without_a_hidden_matrix_are_adamws() -> None:
    model, same = network("mlp", depth=1), network("mlp", depth=1)
    ours = build_optimizer("muon", model, lr=0.01, weight_decay=0.1)
    theirs = build_optimizer("adamw", same, lr=0.01, weight_decay=0.1)
    for each, optimizer in ((model, ours), (same, theirs)):
        torch.manual_seed(3)
        train_epoch(each, samples(), optimizer=optimizer, batch_size=8)
    assert all(torch.allclose(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_a_convolution_moves_as_the_matrix_that_it_is_in_torchs_muon() -> None:
    kernel, matrix = nn.Parameter(torch.randn(6, 3, 5)), nn.Parameter(torch.zeros(6, 15))
    matrix.data.copy_(kernel.data.view(6, 15))
    ours = MuonWithAdamW([{"params": [kernel], "muon": True}], lr=0.02, weight_decay=0.1)
    theirs = torch.optim.Muon([matrix], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        kernel.grad = torch.randn_like(kernel)
        matrix.grad = kernel.grad.view(6, 15).clone()
        ours.step()
        theirs.step()
    assert torch.equal(kernel.view(6, 15), matrix)


def test_muons_step_has_the_root_mean_square_of_adamws() -> None:
    weight = nn.Parameter(torch.zeros(64, 32))
    optimizer = MuonWithAdamW([{"params": [weight], "muon": True}], lr=1.0)
    weight.grad = torch.randn(64, 32)
    optimizer.step()
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.2, rel=0.2)


def test_the_rate_of_a_group_and_a_hook_reach_both_halves_of_muon() -> None:
    model = network()
    optimizer = build_optimizer("muon", model, lr=0.1)
    calls: list[object] = []
    optimizer.register_step_post_hook(lambda it, *_: calls.append(it))
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [parameter.clone() for parameter in model.parameters()]
    train_epoch(model, samples(), optimizer=optimizer, batch_size=24)
    assert calls == [optimizer]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_nesterov_needs_momentum_and_is_sgds() -> None:
    model = nn.Linear(2, 2)
    assert build_optimizer("sgd", model, lr=0.1, nesterov=True).param_groups[0]["nesterov"]
    assert not build_optimizer("sgd", model, lr=0.1, momentum=0.0, nesterov=True).param_groups[0]["nesterov"]


def test_lbfgs_solves_rosenbrock_and_beale() -> None:
    def rosenbrock(p: Tensor) -> Tensor:
        return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2

    def beale(p: Tensor) -> Tensor:
        x, y = p
        value: Tensor = (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2
        return value

    for function, begin, solution in ((rosenbrock, (-1.2, 1.0), (1.0, 1.0)), (beale, (1.0, 0.1), (3.0, 0.5))):
        point = nn.Parameter(torch.tensor(begin, dtype=torch.float64))
        optimizer = DecayedLBFGS([{"params": [point]}])

        def closure() -> Tensor:
            optimizer.zero_grad()  # noqa: B023 - called in this round only
            loss = function(point)  # noqa: B023
            loss.backward()
            return loss

        for _ in range(8):
            optimizer.step(closure)
        assert point.tolist() == pytest.approx(solution, abs=1e-4)


def test_lbfgs_minimises_the_penalised_loss_of_all_samples() -> None:
    data = samples(600)  # more than one chunk
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    optimizer = build_optimizer("lbfgs", model, lr=1.0, weight_decay=0.05)
    assert isinstance(optimizer, DecayedLBFGS)
    for _ in range(5):
        optimizer.step(whole_batch(model, data, optimizer=optimizer))
    weight, bias = model[1].get_parameter("weight"), model[1].get_parameter("bias")
    loss = functional.cross_entropy(model(data.inputs), data.labels)
    gradients = torch.autograd.grad(loss, [weight, bias])
    assert torch.allclose(gradients[0], -0.05 * weight, atol=1e-4)  # the bias is not decayed
    assert torch.allclose(gradients[1], torch.zeros(3), atol=1e-4)


def test_resumed_lbfgs_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    def begin() -> tuple[nn.Module, DecayedLBFGS]:
        model = network("mlp", depth=1)
        return model, DecayedLBFGS([{"params": list(model.parameters())}], max_iter=4)

    def go(model: nn.Module, optimizer: DecayedLBFGS, n: int) -> float:
        return [optimizer.step(whole_batch(model, samples(), optimizer=optimizer)).item() for _ in range(n)][-1]

    whole = go(*begin(), 5)
    broken = begin()
    go(*broken, 2)
    save_checkpoint(tmp_path / "it", step=1, objects=dict(zip("mo", broken, strict=True)), progress={})
    resumed = begin()
    load_checkpoint(tmp_path / "it", objects=dict(zip("mo", resumed, strict=True)))
    assert go(*resumed, 3) == whole
    assert math.isfinite(whole)
