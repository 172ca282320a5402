"""Regularisers match their formulas: exact zeros, gates of the paper, clipped norms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tunefleet_worker.training.clipping import MIN_NORMS, WINDOW, PercentileClip
from tunefleet_worker.training.epochs import Recipe, train_epoch, update
from tunefleet_worker.training.hard_concrete import (
    BETA,
    GAMMA,
    ZETA,
    HardConcrete,
    gated,
    open_units,
    penalty,
    pruned,
)
from tunefleet_worker.training.mixup import mix
from tunefleet_worker.training.optimizers import build_optimizer
from tunefleet_worker.training.samples import Samples
from tunefleet_worker.training.sparsity import ProximalL1, share_of_zeros, soft_threshold


def test_soft_threshold_is_the_proximal_operator_of_the_absolute_value() -> None:
    weights = torch.linspace(-2, 2, 81, dtype=torch.float64)
    expected = torch.sign(weights) * torch.clamp(weights.abs() - 0.5, min=0.0)
    assert torch.equal(soft_threshold(weights, 0.5), expected)
    # The operator is argmin over v of |v| * by + (v - w)^2 / 2: no v of a fine grid is better.
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    cost = 0.5 * grid.abs() + (grid[None] - weights[:, None]).square() / 2
    assert torch.allclose(grid[cost.argmin(1)], expected, atol=1e-3)


def test_proximal_step_uses_the_rate_of_the_group_and_spares_biases() -> None:
    layer = nn.Linear(4, 3)
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    ProximalL1(build_optimizer("sgd", layer, lr=0.5), 0.2).step()
    assert torch.equal(layer.weight, soft_threshold(before[0], 0.1))
    assert torch.equal(layer.bias, before[1])


def test_hard_concrete_gates_follow_equations_10_to_13() -> None:
    torch.manual_seed(0)
    gate = HardConcrete(5)
    gate.log_alpha.data = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0])
    u = torch.rand(1000, 5)
    s = torch.sigmoid((torch.log(u) - torch.log(1 - u) + gate.log_alpha) / (2 / 3))
    assert torch.allclose(gate.sample(u), torch.clamp(s * 1.2 - 0.1, 0, 1), atol=1e-5)
    assert torch.allclose(gate.gates(), torch.clamp(torch.sigmoid(gate.log_alpha) * 1.2 - 0.1, 0, 1), atol=1e-6)
    expected = torch.sigmoid(gate.log_alpha - 2 / 3 * math.log(0.1 / 1.1)).sum()
    assert gate.penalty().item() == pytest.approx(expected.item(), rel=1e-6)
    assert (BETA, GAMMA, ZETA) == (2 / 3, -0.1, 1.1)


def test_penalty_is_the_expected_number_of_nonzero_weights() -> None:
    torch.manual_seed(0)
    gate = HardConcrete(4, weights=7)
    gate.log_alpha.data = torch.tensor([-2.0, -0.5, 0.5, 2.0])
    share_on = (gate.sample(torch.rand(200_000, 4)) != 0).float().mean(0)
    assert gate.penalty().item() == pytest.approx(7 * share_on.sum().item(), abs=0.07)


def test_gate_before_a_linear_layer_counts_a_column_of_its_weights() -> None:
    model = gated(small())
    for gate in model:
        if isinstance(gate, HardConcrete):
            gate.log_alpha.data.fill_(50.0)
    n_weights = sum(layer.weight.numel() for layer in model if isinstance(layer, nn.Linear))
    assert penalty(model).item() == pytest.approx(n_weights)


def small(*, norm: bool = False) -> nn.Sequential:
    between: list[nn.Module] = [nn.BatchNorm1d(6)] if norm else []
    return nn.Sequential(
        nn.Flatten(), nn.Linear(8, 6), *between, nn.ReLU(), nn.Dropout(0.1), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)
    )


@pytest.mark.parametrize("norm", [False, True])
def test_pruned_network_is_smaller_and_computes_the_same(norm: bool) -> None:
    torch.manual_seed(0)
    model = gated(small(norm=norm))
    for module in model:
        if isinstance(module, HardConcrete):
            module.log_alpha.data = torch.linspace(-4.0, 4.0, len(module.log_alpha))
    inputs = torch.randn(16, 2, 4)
    model(inputs)  # sets the statistics of batch normalisation
    model.eval()
    made = pruned(model)
    widths = open_units(model)
    assert [layer.in_features for layer in made if isinstance(layer, nn.Linear)] == widths
    assert all(kept < full for kept, full in zip(widths, (8, 6, 5), strict=True))
    assert not any(isinstance(layer, HardConcrete) for layer in made)
    assert torch.allclose(made(inputs), model(inputs), atol=1e-5)


def test_network_whose_gates_are_all_off_is_pruned_to_its_biases() -> None:
    model = gated(small()).eval()
    for module in model:
        if isinstance(module, HardConcrete):
            module.log_alpha.data.fill_(-9.0)
    inputs = torch.randn(4, 8)
    assert open_units(model) == [0, 0, 0]
    assert torch.allclose(pruned(model)(inputs), model(inputs))


def test_layers_that_mix_units_cannot_be_pruned() -> None:
    model = gated(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="no unit can be removed from LayerNorm"):
        pruned(model)


def test_models_without_gates_have_no_penalty() -> None:
    assert penalty(nn.Linear(2, 2)).item() == 0.0


def test_mixup_gives_lines_between_samples_and_the_same_share_of_both_losses() -> None:
    torch.manual_seed(5)
    inputs, labels = torch.randn(6, 3), torch.arange(6) % 3
    mixed, targets = mix(inputs, labels, alpha=0.4)
    for i in range(6):
        found = [
            j for j in range(6) if torch.allclose(mixed[i], targets.share * inputs[i] + (1 - targets.share) * inputs[j])
        ]
        assert targets.second[i] in labels[found]
    logits = torch.randn(6, 3)
    soft = targets.share * functional.one_hot(labels, 3) + (1 - targets.share) * functional.one_hot(targets.second, 3)
    assert targets.loss(logits).item() == pytest.approx(functional.cross_entropy(logits, soft).item(), rel=1e-5)
    assert torch.equal(targets.majority, labels if targets.share >= 0.5 else targets.second)


def test_shares_of_mixup_have_the_moments_of_their_beta_distribution() -> None:
    torch.manual_seed(0)
    one = torch.zeros(1, dtype=torch.int64)
    shares = torch.tensor([mix(torch.zeros(1, 1), one, alpha=0.4)[1].share for _ in range(2000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.1)


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    logits, labels = torch.randn(7, 4), torch.arange(7) % 4

    class Given(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs

    loss, _ = Recipe(label_smoothing=0.1).loss(Given(), Samples(logits, labels))
    soft = 0.9 * functional.one_hot(labels, 4) + 0.1 / 4
    assert loss.item() == pytest.approx(functional.cross_entropy(logits, soft).item(), rel=1e-6)


def clipped(norms: list[float], percentile: float = 90.0) -> tuple[PercentileClip, list[float]]:
    """Return the norms of gradients after clipping."""
    parameter = nn.Parameter(torch.zeros(2))
    clip = PercentileClip([parameter], percentile)
    left = []
    for norm in norms:
        parameter.grad = torch.tensor([0.6, 0.8]) * norm
        assert clip.clip().item() == pytest.approx(norm)
        left.append(parameter.grad.norm().item())
    return clip, left


def test_gradients_are_cut_to_the_90th_percentile_of_the_norms_before() -> None:
    norms = [float(n) for n in range(1, MIN_NORMS + 1)]
    clip, left = clipped([*norms, 100.0, 5.0])
    percentile = torch.quantile(torch.tensor(norms), 0.9).item()
    assert left[:MIN_NORMS] == pytest.approx(norms)  # too few norms for a threshold
    assert left[MIN_NORMS:] == pytest.approx([percentile, 5.0], rel=1e-4)
    assert clip.share_clipped == 0.5


def test_a_tenth_of_steady_norms_is_clipped_and_there_is_nothing_to_advise() -> None:
    generator = torch.Generator().manual_seed(0)
    clip, _ = clipped(torch.rand(3 * WINDOW, generator=generator).add(1).tolist())
    assert clip.share_clipped == pytest.approx(0.1, abs=0.04)
    assert clip.advice is None


def test_norms_that_grow_are_clipped_more_often_than_not_and_the_advice_is_a_lower_rate() -> None:
    clip, _ = clipped([1.01**n for n in range(200)])
    assert clip.advice is not None
    assert "lower the learning rate" in clip.advice


def test_clipping_resumes_from_its_state_and_handles_zeros_and_infinities() -> None:
    norms = [1.0 + n % 7 for n in range(60)]
    whole, left = clipped(norms)
    first, before = clipped(norms[:35])
    state: dict[str, Any] = {
        key: value.clone() if isinstance(value, Tensor) else value for key, value in first.state_dict().items()
    }
    parameter = nn.Parameter(torch.zeros(2))
    second = PercentileClip([parameter])
    second.load_state_dict(state)
    for norm in norms[35:]:
        parameter.grad = torch.tensor([0.6, 0.8]) * norm
        second.clip()
        before.append(parameter.grad.norm().item())
    assert before == left
    assert torch.equal(whole.threshold(), second.threshold())
    _, zeros = clipped([0.0] * 30)
    assert zeros == [0.0] * 30


def test_recipe_calls_its_hooks_around_the_step_in_order() -> None:
    layer = nn.Linear(2, 2)
    calls: list[str] = []
    optimizer = build_optimizer("sgd", layer, lr=0.1)
    optimizer.register_step_post_hook(lambda *_: calls.append("step"))
    recipe = Recipe(
        before_step=(lambda: calls.append("clip"),),
        after_step=(lambda: calls.append("prox"), lambda: calls.append("rate")),
    )
    update(optimizer, layer(torch.ones(1, 2)).sum(), recipe=recipe)
    assert calls == ["clip", "step", "prox", "rate"]


def test_share_of_zeros_counts_weights_alone() -> None:
    layer = nn.Linear(4, 1)
    layer.weight.data = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    layer.bias.data.zero_()
    assert share_of_zeros(layer) == 0.75


def test_training_with_proximal_steps_ends_with_exact_zeros() -> None:
    torch.manual_seed(0)
    data = Samples(torch.randn(64, 1, 6), torch.arange(64) % 2)
    data.inputs[:, 0, 0] += 4.0 * data.labels  # the only informative feature
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    optimizer = build_optimizer("sgd", model, lr=0.1)
    recipe = Recipe(after_step=(ProximalL1(optimizer, 0.1).step,))
    for _ in range(40):
        train_epoch(model, data, optimizer=optimizer, batch_size=32, recipe=recipe)
    zeros = model[1].get_parameter("weight") == 0
    assert zeros[:, 1:].float().mean() > 0.5
    assert not zeros[:, 0].all()
