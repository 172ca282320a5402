"""Each training method shows its claimed effect on suitable data, with tuned rates and several seeds."""

from __future__ import annotations

import math
import statistics
from itertools import pairwise
from typing import Any

import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from tests.unit.master.diagnosis.study_views import random_study_view, spec_of
from tests.unit.worker.trained import network, parts, train
from torch import Tensor, nn
from torch.nn import functional

from tunefleet.catalogue.optimizers import IN_BATCHES, PRESETS
from tunefleet_master.diagnosis.range_edges import best_at_edge
from tunefleet_worker.tasks.training import Training, TrainingConfig
from tunefleet_worker.training import hard_concrete
from tunefleet_worker.training.epochs import Recipe, score, shuffled_batches, update
from tunefleet_worker.training.optimizers import build_optimizer
from tunefleet_worker.training.rate_range import rate_range_test
from tunefleet_worker.training.samples import Samples
from tunefleet_worker.training.sparsity import ProximalL1, share_of_zeros


def accuracy(model: nn.Module) -> float:
    return score(model, parts()[1]).accuracy


def mean(values: Any) -> float:
    return float(statistics.mean(values))


@pytest.mark.slow
def test_rate_matters_most_and_the_range_test_finds_a_good_one() -> None:
    def trained(lr: float) -> float:
        model = network()
        train(model, epochs=15, lr=lr, optimizer="adam", batch_size=100)
        return accuracy(model)

    seen = {lr: trained(lr) for lr in (1e-4, 1e-3, 1e-2, 5e-2)}
    print(seen)
    model = network()
    suggested = rate_range_test(
        model, parts()[0], optimizer=build_optimizer("adam", model, lr=1.0), batch_size=100
    ).suggested
    assert seen[1e-4] < seen[1e-3] < seen[1e-2] > seen[5e-2]
    assert seen[1e-2] - max(seen[1e-4], seen[1e-3]) > 0.2  # the cost of a range that ends at 1e-3
    assert trained(suggested) > seen[1e-2] - 0.1


@pytest.mark.slow
def test_a_study_whose_range_ends_below_the_best_rate_is_told_so() -> None:
    def loss(params: dict[str, Any]) -> float:
        model = network()
        train(model, epochs=3, lr=params["lr"], optimizer="adam", batch_size=100)
        return score(model, parts()[1]).loss

    (finding,) = best_at_edge(random_study_view(spec_of({"lr": {"log": [1e-6, 1e-3]}}), loss, 12))
    assert finding.edit == {"lr": {"log": [1e-6, 1e-2]}}


@pytest.mark.slow
def test_updates_to_a_loss_fall_as_the_batch_grows_and_then_no_further() -> None:
    samples = parts()[0]
    looked_at = Samples(samples.inputs[:800], samples.labels[:800])

    def updates(batch_size: int, lr: float) -> int:
        """Return the updates to a loss of 1.3, checked at every third update, for small batches at every tenth."""
        model, n, every = network(kind="mlp", width=64, depth=2), 0, 10 if batch_size < 256 else 3
        optimizer = build_optimizer("sgd", model, lr=lr)
        while n < 600:
            for index in shuffled_batches(len(samples), batch_size):
                update(optimizer, functional.cross_entropy(model(samples.inputs[index]), samples.labels[index]))
                n += 1
                if n % every == 0 and score(model, looked_at).loss < 1.3:
                    return n
        return 10**9

    fewest = {size: min(updates(size, lr) for lr in (0.03, 0.1, 0.2, 0.4)) for size in (16, 64, 256, 1024)}
    slopes = [math.log(fewest[b] / fewest[a]) / math.log(b / a) for a, b in pairwise(fewest)]
    print(f"updates by batch size {fewest}, slopes {slopes}")
    assert -1.1 < slopes[0] < -0.8
    assert slopes[-1] > -0.35


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_growing_the_batch_gives_the_losses_of_the_decayed_rate_in_half_the_updates(seed: int) -> None:
    fields: dict[str, Any] = {
        "epochs": 30,
        "lr": 0.02,
        "optimizer": "sgd",
        "batch_size": 20,
        "period": 10,
        "decay": 0.25,
    }
    n_updates: dict[str, int] = {}
    curves: dict[str, Any] = {}
    for schedule in ("step", "grow_batch"):
        model = network(seed, kind="mlp", width=64)
        samples = parts()[0]
        training = Training(model, TrainingConfig.parse({**fields, "schedule": schedule}), n_samples=len(samples))
        curves[schedule] = []
        for epoch in range(30):
            training.run_epoch(epoch, samples)
            curves[schedule].append(score(model, samples).loss)
        n_updates[schedule] = training.schedule.last_epoch
    constant = network(seed, kind="mlp", width=64)
    train(constant, **(fields | {"period": None}))
    apart = [abs(math.log(a / b)) for a, b in zip(curves["step"], curves["grow_batch"], strict=True)]
    assert n_updates["grow_batch"] < 0.55 * n_updates["step"]
    assert max(apart[12:]) < 0.3
    assert max(curves["step"][-1], curves["grow_batch"][-1]) < score(constant, parts()[0]).loss


@pytest.mark.slow
def test_the_gap_falls_with_the_decay_and_validation_is_best_in_between() -> None:
    samples = parts(subset=0.25)[0]
    gaps, losses = [], []
    for decay in (1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1):
        model = network(kind="mlp", width=128, depth=2)
        train(model, data=samples, epochs=40, lr=0.05, optimizer="sgd", batch_size=50, weight_decay=decay)
        losses.append(score(model, parts()[1]).loss)
        gaps.append(losses[-1] - score(model, samples).loss)
    print(f"gaps {gaps}, validation losses {losses}")
    assert all(more > less for more, less in pairwise(gaps))
    best = losses.index(min(losses))
    assert 0 < best < len(losses) - 1
    assert all(left > right for left, right in pairwise(losses[: best + 1]))
    assert all(left < right for left, right in pairwise(losses[best:]))


def logistic(penalty: str, strength: float) -> nn.Linear:
    """A logistic regression on breast_cancer by gradient descent on all samples."""
    values, labels = load_breast_cancer(return_X_y=True)
    inputs = torch.tensor((values - values.mean(0)) / values.std(0), dtype=torch.float32)
    target = torch.tensor(labels, dtype=torch.float32)
    torch.manual_seed(0)
    model = nn.Linear(30, 1)
    optimizer = build_optimizer("sgd", model, lr=0.3, momentum=0.0, weight_decay=strength if penalty == "l2" else 0.0)
    recipe = Recipe(after_step=(ProximalL1(optimizer, strength).step,) if penalty == "proximal" else ())
    for _ in range(300):
        loss = functional.binary_cross_entropy_with_logits(model(inputs).squeeze(1), target)
        if penalty == "subgradient":
            loss = loss + strength * model.weight.abs().sum()
        update(optimizer, loss, recipe=recipe)
    return model


def test_proximal_l1_has_exact_zeros_that_grow_with_its_strength_and_gradients_have_none() -> None:
    zeros = [share_of_zeros(logistic("proximal", strength)) for strength in (1e-4, 3e-3, 0.03, 0.1)]
    assert all(fewer < more for fewer, more in pairwise(zeros))
    assert zeros[-1] > 0.8
    assert share_of_zeros(logistic("subgradient", 0.03)) == share_of_zeros(logistic("l2", 0.03)) == 0.0


def test_proximal_l1_ends_where_scikit_learns_solver_does() -> None:
    values, labels = load_breast_cancer(return_X_y=True)
    standardised = (values - values.mean(0)) / values.std(0)
    solver = LogisticRegression(l1_ratio=1.0, solver="liblinear", C=1 / (0.03 * len(labels)), intercept_scaling=100.0)
    theirs = solver.fit(standardised, labels)
    ours = logistic("proximal", 0.03)

    def objective(weight: Tensor, bias: Tensor) -> float:
        logits = torch.tensor(standardised, dtype=torch.float32) @ weight + bias
        loss = functional.binary_cross_entropy_with_logits(logits, torch.tensor(labels, dtype=torch.float32))
        return (loss + 0.03 * weight.abs().sum()).item()

    least = objective(torch.tensor(theirs.coef_[0], dtype=torch.float32), torch.tensor(float(theirs.intercept_[0])))
    assert objective(ours.weight.detach()[0], ours.bias.detach()) == pytest.approx(
        least, rel=0.03
    )  # it has not converged yet


def gated_digits(strength: float) -> tuple[float, list[int], float]:
    """Return accuracy, widths and the largest difference of the pruned network's logits, for a penalty strength / N."""
    samples, held_out = parts("digits")
    torch.manual_seed(0)
    model = hard_concrete.gated(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))
    )
    gates = {id(it.log_alpha) for it in model if isinstance(it, hard_concrete.HardConcrete)}
    optimizer = torch.optim.Adam(
        [
            {"params": [it for it in model.parameters() if id(it) in gates], "lr": 1e-2},
            {"params": [it for it in model.parameters() if id(it) not in gates], "lr": 1e-3},
        ]
    )
    for _ in range(60):
        for index in shuffled_batches(len(samples), 64):
            loss = functional.cross_entropy(model(samples.inputs[index]), samples.labels[index])
            update(optimizer, loss + strength / len(samples) * hard_concrete.penalty(model))
    model.eval()
    small = hard_concrete.pruned(model)
    apart = (small(held_out.inputs) - model(held_out.inputs)).abs().max().item()
    widths = [layer.in_features for layer in small if isinstance(layer, nn.Linear)]
    return score(small, held_out).accuracy, widths, apart


@pytest.mark.slow
def test_penalised_gates_shrink_a_network_that_still_classifies_digits() -> None:
    seen = [gated_digits(strength) for strength in (0.0, 0.1, 0.3, 1.0)]
    widths = [sum(widths) for _, widths, _ in seen]
    assert max(apart for *_, apart in seen) < 1e-3
    assert widths[0] == 64 + 100 + 50
    assert all(narrow < 0.9 * wide for wide, narrow in pairwise(widths))
    assert widths[-1] < 0.5 * widths[0]
    full, *lesser, least = (accuracy for accuracy, *_ in seen)
    assert full > 0.95
    assert min(lesser) > full - 0.03
    assert least > full - 0.08


@pytest.mark.slow
def test_deep_networks_need_residual_blocks_besides_normalisation() -> None:
    def trained(depth: int, normalization: str, *, residual: bool = False) -> tuple[float, float]:
        model = network(kind="mlp", width=64, depth=depth, normalization=normalization, residual=residual)
        return train(model, epochs=30, lr=1e-3, optimizer="adam", batch_size=100)[-1].loss, accuracy(model)

    plain = {depth: trained(depth, "none") for depth in (4, 16, 40)}
    normalised = {depth: trained(depth, "batch") for depth in (4, 40)}
    both = {depth: trained(depth, "batch", residual=True) for depth in (4, 16, 40)}
    print(f"training loss, accuracy: plain {plain}, normalised {normalised}, with residual blocks {both}")
    assert normalised[4][0] < plain[4][0]
    assert normalised[40][0] > plain[40][0] + 0.3
    assert both[40][0] < plain[40][0] - 0.2
    assert all(both[depth][1] > plain[depth][1] + 0.04 for depth in both)
    assert both[40][1] > plain[40][1] + 0.15


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_BATCHES)
def test_the_best_rate_of_every_optimizer_lies_inside_its_range(name: str) -> None:
    preset = PRESETS[name]
    n = 7
    rates = [preset.low * (preset.high / preset.low) ** (i / (n - 1)) for i in range(n)]

    def loss(lr: float) -> float:
        model = network(kind="mlp", width=64, depth=3, normalization="batch")
        train(model, epochs=5, lr=lr, optimizer=name, batch_size=64)
        it = score(model, parts()[1]).loss
        return it if math.isfinite(it) else math.inf

    losses = [loss(lr) for lr in rates]
    best = losses.index(min(losses))
    assert 0 < best < n - 1
    assert min(losses) < 0.75 * max(losses[0], losses[-1])


def validation_losses(seed: int = 0, *, epochs: int, **fields: Any) -> list[float]:
    """Return the score after each epoch of a network with batch normalisation and SGD."""
    model, samples = network(seed, normalization="batch"), parts()[0]
    config = TrainingConfig.parse({"optimizer": "sgd", "epochs": epochs, **fields})
    training = Training(model, config, n_samples=len(samples))
    losses = []
    for epoch in range(epochs):
        training.run_epoch(epoch, samples)
        losses.append(score(model, parts()[1]).loss)
    return losses


@pytest.mark.slow
def test_warm_restarts_are_better_at_each_restart_than_a_step_decay_on_its_way() -> None:
    restarts = (4, 12, 28)
    schedules: dict[str, dict[str, Any]] = {
        "sgdr": {"schedule": "sgdr", "period": 4, "cycle_growth": 2},
        "step": {"schedule": "step", "period": 14, "decay": 0.1},
    }
    seen: dict[str, list[list[float]]] = {kind: [] for kind in schedules}
    for kind, fields in schedules.items():
        for seed in (0, 1):
            curves = [
                validation_losses(seed, epochs=28, batch_size=50, lr=lr, **fields) for lr in (0.05, 0.1, 0.3)
            ]  # the best rate of each schedule
            seen[kind].append([min(curve[epoch - 1] for curve in curves) for epoch in restarts])
    for of_sgdr, of_steps in zip(zip(*seen["sgdr"], strict=True), zip(*seen["step"], strict=True), strict=True):
        assert mean(of_sgdr) < mean(of_steps)


def probabilities(model: nn.Module, samples: Samples) -> Tensor:
    model.eval()
    with torch.no_grad():
        p: Tensor = model(samples.inputs).softmax(1)
    return p


@pytest.mark.slow
def test_ensemble_of_snapshots_is_better_than_one_run_of_their_cost() -> None:
    gains, of_last = [], []
    for seed in (0, 1):
        samples, held_out = parts()
        fields: dict[str, Any] = {"lr": 0.05, "optimizer": "sgd", "batch_size": 100, "epochs": 40}
        model = network(seed)
        training = Training(
            model, TrainingConfig.parse({**fields, "schedule": "sgdr", "period": 8}), n_samples=len(samples)
        )
        members = []
        for epoch in range(40):
            training.run_epoch(epoch, samples)
            if epoch % 8 == 7:
                members.append(probabilities(model, held_out))
        right = torch.stack(members[-3:]).mean(0).argmax(1) == held_out.labels
        single = network(seed)
        train(single, **fields, schedule="cosine")
        snapshots = [(it.argmax(1) == held_out.labels).float().mean().item() for it in members]
        gains.append(right.float().mean().item() - accuracy(single))
        of_last.append(snapshots[-1] - accuracy(single))
        print(f"snapshots {snapshots}, ensemble {right.float().mean():.4f}, one run {accuracy(single):.4f}")
        assert snapshots[-1] > snapshots[0]
    assert mean(gains) > 0
    assert mean(of_last) > mean(gains) - 0.015  # the last snapshot alone is about as good


@pytest.mark.slow
def test_cyclic_rates_reach_a_loss_in_fewer_epochs_than_the_best_constant_one() -> None:
    def epochs_to(targets: tuple[float, ...], seed: int, **fields: Any) -> list[int]:
        curves = [
            validation_losses(seed, epochs=20, batch_size=20, lr=lr, **fields) for lr in (0.03, 0.1, 0.3)
        ]  # the best rate of each
        return [
            min(next((i for i, loss in enumerate(curve, start=1) if loss < target), 21) for curve in curves)
            for target in targets
        ]

    targets = (0.15, 0.12)
    constant = [epochs_to(targets, seed) for seed in (0, 1, 2)]
    cyclic = [epochs_to(targets, seed, schedule="cyclic", period=4) for seed in (0, 1, 2)]
    for of_constant, of_cyclic in zip(zip(*constant, strict=True), zip(*cyclic, strict=True), strict=True):
        assert mean(of_cyclic) < mean(of_constant)


@pytest.mark.slow
def test_averages_of_a_constant_rate_are_better_than_its_last_weights() -> None:
    samples = parts()[0]
    for averaging in ("swa", "ema"):
        gains = []
        for seed in range(10):
            model = network(seed, normalization="batch")
            config = TrainingConfig.parse(
                {"epochs": 12, "lr": 0.1, "optimizer": "sgd", "batch_size": 20, "averaging": averaging}
            )
            training = Training(model, config, n_samples=len(samples))
            for epoch in range(12):
                training.run_epoch(epoch, samples)
            gains.append(accuracy(training.judged) - accuracy(model))
        assert mean(gains) > 0.01
        assert mean(gains) > 2 * statistics.stdev(gains) / math.sqrt(len(gains))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "is_small"),
    [({"kind": "mlp", "width": 128, "depth": 6}, True), ({"kind": "cnn"}, False)],
    ids=["mlp", "cnn"],
)
def test_the_best_of_sixteen_rates_is_better_on_a_log_scale_unless_the_best_one_is_large(
    model: dict[str, Any], is_small: bool
) -> None:
    """Adam, 1e-5 to 0.1. On a linear scale nine in ten rates are above 1e-2, near this CNN's best rate."""
    rates = torch.logspace(-5, -1, 13, dtype=torch.float64)

    def trained(lr: float) -> float:
        it = network(**model)
        train(it, epochs=10, lr=lr, optimizer="adam", batch_size=100)
        return accuracy(it)

    seen = torch.tensor([trained(lr) for lr in rates.tolist()], dtype=torch.float64)
    uniform = torch.rand(2_000, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def best(drawn: Tensor) -> float:
        """Return the mean accuracy of the best of sixteen rates, interpolated between trained rates."""
        place = (drawn.log10() + 5) * 3
        below = place.floor().long().clamp(0, len(rates) - 2)
        return torch.lerp(seen[below], seen[below + 1], place - below).amax(1).mean().item()

    log, linear = best(10 ** (-5 + 4 * uniform)), best(1e-5 + (0.1 - 1e-5) * uniform)
    print(f"{model}: best rate {rates[seen.argmax()]:.2g}, best of 16: log {log:.4f}, linear {linear:.4f}")
    assert (rates[seen.argmax()] < 1e-2) == is_small
    assert log > linear + 0.005 if is_small else log > linear - 0.03
