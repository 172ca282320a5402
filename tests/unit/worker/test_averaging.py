"""Averages of weights match their formulas, and have matching normalisation statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tunefleet_worker.training.averaging import Average, swa_begin, update_statistics
from tunefleet_worker.training.samples import Samples


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def samples(n: int = 700) -> Samples:
    return Samples(torch.randn(n, 3, generator=torch.Generator().manual_seed(1)), torch.zeros(n, dtype=torch.int64))


def layer(model: nn.Module, index: int) -> nn.Module:
    return model.get_submodule(str(index))


def weights_at(model: nn.Sequential, value: float) -> nn.Sequential:
    for parameter in model.parameters():
        parameter.data.fill_(value)
    return model


def test_ema_is_the_average_whose_beginning_is_corrected_as_adams_moments_are() -> None:
    model, values, decay = network(), [3.0, 1.0, -2.0, 5.0, 0.5], 0.9
    average = Average(model, "ema", decay=decay)
    raw = 0.0
    for n, value in enumerate(values, start=1):
        average.after_update(weights_at(model, value))
        raw = decay * raw + (1 - decay) * value
        seen = {round(it, 5) for parameter in average.module.parameters() for it in parameter.flatten().tolist()}
        assert seen == {round(raw / (1 - decay**n), 5)}


def test_swa_is_the_network_until_it_begins_and_then_the_mean_of_the_epochs_ends() -> None:
    model, train = network(), samples()
    average = Average(model, "swa", begin=2)
    means = {0: 7.0, 1: 4.0, 2: 1.0, 3: 2.0, 4: 3.0}
    for epoch, value in enumerate([7.0, 4.0, 1.0, 3.0, 5.0]):
        weights_at(model, value)
        average.after_update(model)  # no effect: swa averages epochs
        average.end_epoch(model, epoch=epoch, train=train)
        assert layer(average.module, 0).get_parameter("weight")[0, 0].item() == pytest.approx(means[epoch])


def test_statistics_are_the_whole_training_parts_under_the_averaged_weights() -> None:
    model, train = network(), samples(512)
    average = Average(model, "ema")
    average.after_update(model)
    average.end_epoch(model, epoch=0, train=train)
    hidden = layer(average.module, 0)(train.inputs).detach()
    assert torch.allclose(layer(average.module, 1).get_buffer("running_mean"), hidden.mean(0), atol=1e-6)
    assert torch.allclose(layer(average.module, 1).get_buffer("running_var"), hidden.var(0), rtol=1e-4)
    assert torch.equal(model[1].get_buffer("running_mean"), torch.zeros(4))


def test_networks_without_batch_normalisation_draw_no_random_number_for_statistics() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    before = torch.get_rng_state()
    update_statistics(model, samples())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("epochs", "begin"), [(1, 0), (2, 0), (4, 2), (5, 3), (20, 15), (100, 75)])
def test_swa_begins_after_three_quarters_and_averages_at_least_the_last_two(epochs: int, begin: int) -> None:
    assert swa_begin(epochs) == begin
