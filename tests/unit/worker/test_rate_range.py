"""The range test finds the highest useful rate, and restores the initial state."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from tunefleet_worker.training.optimizers import build_optimizer
from tunefleet_worker.training.rate_range import RateRange, rate_range_test
from tunefleet_worker.training.samples import Samples


def samples() -> Samples:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 1, 10, generator=generator)
    return Samples(inputs, inputs[:, 0, :4].argmax(1))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


def test_range_test_restores_model_optimizer_and_generator() -> None:
    model = network()
    optimizer = build_optimizer("adam", model, lr=0.01)
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict(), torch.get_rng_state()))
    rate_range_test(model, samples(), optimizer=optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before[0].values(), model.state_dict().values(), strict=True))
    assert optimizer.state_dict() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize(("name", "factor"), [("sgd", 100.0), ("adam", 100.0)])
def test_suggested_rate_learns_and_a_much_higher_or_lower_one_does_not(name: str, factor: float) -> None:
    def loss_after(rate: float) -> float:
        model = network()
        optimizer = build_optimizer(name, model, lr=rate)
        data = samples()
        for _ in range(60):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(data.inputs), data.labels)
            loss.backward()
            optimizer.step()
        return loss.item()

    model = network()
    seen = rate_range_test(model, samples(), optimizer=build_optimizer(name, model, lr=1.0), updates=200)
    at, low, high = (loss_after(seen.suggested * by) for by in (1.0, 1 / factor, factor))
    assert at < 0.6 * low
    assert at < high


def test_rates_rise_in_equal_ratios_and_the_test_ends_when_the_loss_blows_up() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(10, 4))
    seen = rate_range_test(model, samples(), optimizer=build_optimizer("sgd", model, lr=1.0), rates=(1e-4, 1e6))
    ratios = {round(b / a, 6) for a, b in itertools.pairwise(seen.rates)}
    assert ratios == {round(1e10 ** (1 / 99), 6)}
    assert len(seen.rates) < 100
    assert seen.lowest < 1e4


def test_suggestion_is_a_third_of_the_rate_at_the_least_loss() -> None:
    assert RateRange(rates=(0.1, 0.3, 0.9), losses=(2.0, 1.0, 3.0)).suggested == pytest.approx(0.1)
