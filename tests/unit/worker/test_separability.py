"""The generalised discrimination value matches the paper, and has its invariances."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from tunefleet_worker.looking.separability import discrimination_value, layer_separability
from tunefleet_worker.training.samples import Samples


def slowly(activations: Tensor, labels: Tensor) -> float:
    """The formula, term by term."""
    scored = 0.5 * (activations - activations.mean(0)) / activations.std(0, correction=0)
    classes = [scored[labels == label] for label in labels.unique()]
    within = [math.fsum(math.dist(a, b) for a, b in itertools.combinations(c.tolist(), 2)) for c in classes]
    within = [total / math.comb(len(c), 2) for total, c in zip(within, classes, strict=True)]
    between = [
        math.fsum(math.dist(a, b) for a in c.tolist() for b in d.tolist()) / (len(c) * len(d))
        for c, d in itertools.combinations(classes, 2)
    ]
    return (math.fsum(within) / len(within) - math.fsum(between) / len(between)) / math.sqrt(activations.shape[1])


@pytest.fixture
def mixed() -> Samples:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2])
    inputs = torch.randn(12, 5, generator=generator, dtype=torch.float64) + labels.unsqueeze(1) * torch.arange(5)
    return Samples(inputs, labels)


def test_it_is_the_papers_formula(mixed: Samples) -> None:
    assert discrimination_value(mixed.inputs, mixed.labels) == pytest.approx(
        slowly(mixed.inputs, mixed.labels), abs=1e-12
    )


def test_scale_offset_order_and_number_of_units_do_not_matter(mixed: Samples) -> None:
    value = discrimination_value(mixed.inputs, mixed.labels)
    scaled = mixed.inputs * torch.tensor([1.0, 7.0, 0.1, -3.0, 100.0]) + 5.0
    permuted = mixed.inputs[:, [3, 1, 4, 0, 2]]
    doubled = torch.cat([mixed.inputs, mixed.inputs], dim=1)
    for same in (scaled, permuted, doubled):
        assert discrimination_value(same, mixed.labels) == pytest.approx(value, abs=1e-9)


def test_separability_of_two_points_is_minus_one_and_of_noise_about_zero() -> None:
    labels = torch.arange(200) % 2
    points = torch.stack([labels, -labels, 3 * labels], dim=1).double()
    assert discrimination_value(points, labels) == pytest.approx(-1.0)
    noise = torch.randn(200, 30, generator=torch.Generator().manual_seed(1))
    assert abs(discrimination_value(noise, labels)) < 0.01


def test_constant_unit_has_no_effect(mixed: Samples) -> None:
    dead = torch.cat([mixed.inputs, torch.full((12, 5), 3.0)], dim=1)
    alive = discrimination_value(mixed.inputs, mixed.labels)
    assert discrimination_value(dead, mixed.labels) == pytest.approx(alive / math.sqrt(2), abs=1e-9)


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        discrimination_value(torch.randn(4, 3), torch.tensor([0, 0, 0, 1]))


def test_layers_come_in_the_order_of_their_calls_and_the_model_stays_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.Sequential(nn.BatchNorm1d(6), nn.ReLU()), nn.Linear(6, 3))
    samples = Samples(torch.randn(30, 2, 4), torch.arange(30) % 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert list(layer_separability(model, samples)) == ["input", "0", "1", "2.0", "2.1", "3"]
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
