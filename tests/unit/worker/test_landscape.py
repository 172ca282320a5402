"""The plane of losses around a network's weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tunefleet_worker.training.landscape import Landscape, loss_plane
from tunefleet_worker.training.samples import Samples


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def samples() -> Samples:
    generator = torch.Generator().manual_seed(1)
    return Samples(torch.randn(50, 6, generator=generator), torch.randint(3, (50,), generator=generator))


def test_the_middle_is_the_loss_of_the_unchanged_weights(model: nn.Sequential, samples: Samples) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = loss_plane(model, samples, n=5)
    expected = functional.cross_entropy(model(samples.inputs), samples.labels)
    assert seen.losses[2, 2].item() == pytest.approx(expected.item(), rel=1e-6)
    assert seen.offsets.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_networks_that_compute_the_same_have_the_same_plane(model: nn.Sequential, samples: Samples) -> None:
    seen = loss_plane(model, samples, n=7)
    first, last = model[0], model[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        first.weight.mul_(10)
        first.bias.mul_(10)
        last.weight.div_(10)
    assert torch.allclose(loss_plane(model, samples, n=7).losses, seen.losses, rtol=1e-4)


def test_biases_and_normalisations_are_not_moved(samples: Samples) -> None:
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Flatten())
    losses = loss_plane(model, Samples(samples.inputs, samples.labels), n=3).losses
    assert torch.equal(losses, losses[0, 0].expand(3, 3))


def test_the_seed_decides_the_directions(model: nn.Sequential, samples: Samples) -> None:
    one, again, other = (loss_plane(model, samples, n=3, seed=seed).losses for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("n", [1, 4])
def test_the_weights_have_to_be_the_middle(model: nn.Sequential, samples: Samples, n: int) -> None:
    with pytest.raises(ValueError, match=f"n is {n}; it must be odd"):
        loss_plane(model, samples, n=n)


def test_a_bowl_is_as_smooth_as_can_be_and_two_valleys_are_counted() -> None:
    x = torch.linspace(-1, 1, 11)
    bowl = Landscape(x, x.square().unsqueeze(1) + x.square())
    assert bowl.roughness == pytest.approx(1.0)
    assert bowl.n_minima == 1
    valleys = Landscape(x, (x.square() - 0.36).square().unsqueeze(1) + x.square())
    assert valleys.n_minima == 2
    assert valleys.roughness > 1.05
