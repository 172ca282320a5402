"""Growing batches keep the noise scale of a decaying rate, up to a tenth of the data."""

from __future__ import annotations

import math

import pytest
import torch
from tests.unit.worker.trained import network, parts
from torch import nn

from tunefleet_worker.training import curves
from tunefleet_worker.training.batch_growth import BatchPlan, grown, noise_scale
from tunefleet_worker.training.epochs import Recipe, n_batches, score, shuffled_batches, train_epoch
from tunefleet_worker.training.optimizers import build_optimizer
from tunefleet_worker.training.schedules import Schedule

N = 4000


def test_noise_scale_is_that_of_smith_and_le() -> None:
    assert noise_scale(0.1, 32, n_samples=50_000) == pytest.approx(0.1 * (50_000 / 32 - 1))


def test_batch_grows_where_the_rate_would_decay_and_the_rest_is_the_rates() -> None:
    assert grown(20, 1.0, n_samples=N) == (20, 1.0)
    assert grown(20, 1 / 4, n_samples=N) == (80, 1.0)
    assert grown(20, 1 / 16, n_samples=N) == (320, 1.0)
    size, factor = grown(20, 1 / 64, n_samples=N)
    assert size == 400  # a tenth of the samples
    assert factor == pytest.approx(400 / 20 / 64)


@pytest.mark.parametrize("factor", [1.0, 0.7, 1 / 3, 1 / 4, 1 / 64, 1e-4])
def test_the_ratio_of_rate_and_batch_is_the_one_of_the_decayed_rate(factor: float) -> None:
    size, left = grown(20, factor, n_samples=N)
    assert left / size == pytest.approx(factor / 20, rel=1e-12)


def test_a_batch_that_is_large_already_stays_and_the_rate_decays() -> None:
    assert grown(1000, 0.5, n_samples=N) == (1000, 0.5)


def test_plan_halves_the_updates_of_the_methods_page_and_knows_where_epochs_begin() -> None:
    steps = curves.step(1, 1 / 4)
    plan = BatchPlan.growing(
        20, lambda epoch: steps((epoch >= 12) + (epoch >= 18) + (epoch >= 24)), n_samples=N, epochs=30
    )
    constant = BatchPlan.constant(20, n_samples=N, epochs=30)
    assert (constant.updates_before(30), plan.updates_before(30)) == (6000, 12 * 200 + 6 * 50 + 6 * 13 + 6 * 10)
    assert plan.updates_before(12) == 2400
    assert plan.curve()(2400 + 300 + 78) == pytest.approx(400 / 20 / 64)
    assert plan.curve()(2400 + 300 + 77) == 1.0
    assert plan.curve()(10_000) == pytest.approx(400 / 20 / 64)


def test_a_schedule_follows_the_plan() -> None:
    plan = BatchPlan(40, sizes=(10, 20, 20), factors=(1.0, 1.0, 0.5))
    optimizer = build_optimizer("sgd", nn.Linear(1, 1), lr=0.1)
    schedule = Schedule(optimizer, plan.curve())
    rates = []
    for size in plan.sizes:
        for _ in shuffled_batches(40, size):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    assert rates == pytest.approx([0.1] * 6 + [0.05] * 2)


@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 11, 12, 20, 21])
def test_batches_are_counted_as_they_are_made(n: int) -> None:
    assert n_batches(n, 10) == len(list(shuffled_batches(n, 10)))
    assert torch.cat(list(shuffled_batches(n, 10))).sort().values.tolist() == list(range(n))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_stay_within_a_seventh_of_those_of_the_decayed_rate_with_half_of_the_updates(seed: int) -> None:
    """A CNN on mnist1d with SGD 0.02, batches of 20, by four at epochs 12, 18 and 24 of 30."""
    samples = parts()[0]
    steps, n = curves.step(1, 1 / 4), len(samples)

    def decay(epoch: int) -> float:
        return steps((epoch >= 12) + (epoch >= 18) + (epoch >= 24))

    def losses(plan: BatchPlan) -> list[float]:
        model = network(seed)
        optimizer = build_optimizer("sgd", model, lr=0.02)
        recipe = Recipe(after_step=(Schedule(optimizer, plan.curve()).step,))
        found = []
        for size in plan.sizes:
            train_epoch(model, samples, optimizer=optimizer, batch_size=size, recipe=recipe)
            found.append(score(model, samples).loss)
        return found

    growing = BatchPlan.growing(20, decay, n_samples=n, epochs=30)
    decaying = BatchPlan(n, (20,) * 30, tuple(map(decay, range(30))))
    pairs = list(zip(losses(decaying), losses(growing), strict=True))
    print(f"{decaying.updates_before(30)} updates, {growing.updates_before(30)}, last losses {pairs[-1]}")
    assert growing.updates_before(30) < 0.5 * decaying.updates_before(30)
    assert max(abs(math.log(decayed / grown)) for decayed, grown in pairs[12:]) < 0.15
