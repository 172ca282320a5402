"""Every optimizer of the toolbox on two functions and on mnist1d, each with its own best rate.

The rate is the best of sixteen, at the same sixteen quantiles of the optimizer's range on a log scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean, median

import pytest
import torch
from scipy.stats import kendalltau
from tests.unit.worker.trained import network, parts
from torch import Tensor, nn

from tunefleet.catalogue.optimizers import IN_BATCHES, PRESETS
from tunefleet_worker.training.epochs import score, train_epoch
from tunefleet_worker.training.lbfgs import whole_batch
from tunefleet_worker.training.optimizers import build_optimizer

N_RATES = 16
UPDATES = 400
EPOCHS = 8
OF_VECTORS = [name for name in PRESETS if name != "muon"]  # Muon orthogonalises matrices, and a point is not a matrix


def beale(at: Tensor) -> Tensor:
    x, y = at
    value: Tensor = (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2
    return value


def rosenbrock(at: Tensor) -> Tensor:
    x, y = at
    value: Tensor = (1 - x) ** 2 + 100 * (y - x**2) ** 2
    return value


STARTS: dict[Callable[[Tensor], Tensor], tuple[float, float]] = {beale: (1.0, 0.1), rosenbrock: (-1.2, 1.0)}


def rates(name: str, *, lower: float = 1.0) -> list[float]:
    """Return sixteen rates of an optimizer's range, with its low end divided by `lower`."""
    quantiles = torch.rand(N_RATES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = PRESETS[name].low / lower, PRESETS[name].high
    return [low * (high / low) ** u for u in quantiles.tolist()]


class Point(nn.Module):
    def __init__(self, start: tuple[float, float]) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(start, dtype=torch.float64))


def reached(function: Callable[[Tensor], Tensor], name: str, lr: float) -> float:
    """Return a function's value after 400 updates; for LBFGS 400 iterations."""
    point = Point(STARTS[function])
    optimizer = build_optimizer(name, point, lr=lr)

    def closure() -> float:
        optimizer.zero_grad()
        value = function(point.at)
        value.backward()
        return value  # type: ignore[return-value]

    for _ in range(UPDATES // 20 if name == "lbfgs" else UPDATES):
        optimizer.step(closure)
    value = function(point.at.detach()).item()
    return value if math.isfinite(value) else math.inf


@pytest.mark.slow
@pytest.mark.parametrize("function", STARTS, ids=lambda it: it.__name__)
def test_each_optimizer_comes_down_with_its_own_rate_and_few_with_the_one_for_networks(
    function: Callable[[Tensor], Tensor],
) -> None:
    """Rosenbrock's initial curvature is 1,500, so rates start a hundred times lower than for networks."""
    start = function(torch.tensor(STARTS[function], dtype=torch.float64)).item()
    tuned, default = {}, {}
    for name in OF_VECTORS:
        seen = {lr: reached(function, name, lr) for lr in rates(name, lower=100.0)}
        best = min(seen, key=lambda lr: seen[lr])
        tuned[name], default[name] = seen[best], reached(function, name, PRESETS[name].default)
        print(f"{function.__name__} {name}: {tuned[name]:.2g} at {best:.2g}, {default[name]:.2g} at its default")
    print(f"from {start:.3g}, the best first: {sorted(tuned, key=lambda name: tuned[name])}")
    assert all(value < 0.1 * start for value in tuned.values())
    assert all(tuned[name] <= max(default[name], 1e-9) for name in OF_VECTORS)  # 1e-9 is solved
    assert tuned["lbfgs"] < 1e-9
    assert default["sgd"] == default["asgd"] == math.inf


def accuracy(name: str, lr: float, *, seed: int = 0) -> float:
    """Return the validation score after eight epochs; for LBFGS eight iterations."""
    model, (samples, held_out) = network(seed, kind="mlp", width=64, depth=3), parts()
    optimizer = build_optimizer(name, model, lr=lr)
    if name == "lbfgs":
        optimizer.param_groups[0].update(max_iter=EPOCHS, max_eval=EPOCHS)
        optimizer.step(whole_batch(model, samples, optimizer=optimizer))  # type: ignore[arg-type]
        return score(model, held_out).accuracy
    for _ in range(EPOCHS):
        if not train_epoch(model, samples, optimizer=optimizer, batch_size=100).is_finite:
            break
    return score(model, held_out).accuracy


@pytest.mark.slow
def test_tuned_optimizers_score_alike_on_mnist1d_and_defaults_do_not() -> None:
    tuned, default, drawn = {}, {}, {}
    for name in PRESETS:
        seen = {lr: accuracy(name, lr) for lr in rates(name)}
        best = max(seen, key=lambda lr: seen[lr])
        drawn[name] = median(seen.values())
        # On seeds other than those of the rate's choice.
        tuned[name] = fmean(accuracy(name, best, seed=seed) for seed in (1, 2, 3))
        default[name] = fmean(accuracy(name, PRESETS[name].default, seed=seed) for seed in (1, 2, 3))
        print(f"{name}: {tuned[name]:.3f} at {best:.2g}, default {default[name]:.3f}, median rate {drawn[name]:.3f}")
    print(f"tuned, the best first: {sorted(tuned, key=lambda name: -tuned[name])}")
    print(f"default, the best first: {sorted(default, key=lambda name: -default[name])}")
    gains = [tuned[name] - default[name] for name in IN_BATCHES]
    assert min(gains) > -0.02
    assert fmean(gains) > 0.05
    assert all(tuned[name] > drawn[name] + 0.05 for name in IN_BATCHES)
    assert spread(tuned) < 0.3 * spread(default)
    order = kendalltau([tuned[name] for name in IN_BATCHES], [default[name] for name in IN_BATCHES]).statistic
    print(f"Kendall's tau of the two orders: {order:.2f}")
    assert order < 0.7
    assert max(tuned["lbfgs"], default["lbfgs"]) < min(tuned[name] for name in IN_BATCHES)  # eight updates


def spread(accuracies: dict[str, float]) -> float:
    """Return the difference between the best and the worst mini-batch optimizer."""
    values = [accuracies[name] for name in IN_BATCHES]
    return max(values) - min(values)
