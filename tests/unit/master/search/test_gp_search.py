"""The parts of `gp` around its process: training points, trust region, candidates and optimizer."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from tests.unit.master.search.search_runs import space_of

from tunefleet_master.search.axes import Axes, Points, row_keys
from tunefleet_master.search.gaussian_process.acquisition import LogExpectedImprovement
from tunefleet_master.search.gaussian_process.acquisition_optimizer import AcquisitionOptimizer, SearchBudget
from tunefleet_master.search.gaussian_process.kernel import Array
from tunefleet_master.search.gaussian_process.neighbourhood import Box, Neighbourhood
from tunefleet_master.search.gaussian_process.process import GaussianProcess
from tunefleet_master.search.gaussian_process.training_points import (
    select_training_points,
    spread_over_ranks,
)
from tunefleet_master.search.gaussian_process.trust_region import (
    FIRST_LENGTH,
    MIN_LENGTH,
    SUCCESSES,
    TrustRegion,
)
from tunefleet_master.search.gaussian_process.warping import warped

CONDITIONAL: dict[str, Any] = {
    "lr": {"log": [1e-6, 1e-1]},
    "layers": {"int": [1, 3]},
    "width": {"int": [4, 512], "log": True, "when": "layers > 1"},
    "optimizer": ["sgd", "adam", "lion"],
    "momentum": {"float": [0.0, 0.99], "when": "optimizer == 'sgd'"},
    "nesterov": {"choice": [True, False], "when": "momentum > 0.5"},
    "epochs": {"fixed": 3},
}
BUDGET = SearchBudget(spread=300, mutations=20, starts=6, rounds=3, iterations=30)


def process_of(axes: Axes, n: int, *, seed: int = 0) -> tuple[GaussianProcess, Points]:
    points = axes.canonical(np.random.default_rng(seed).random((n, axes.d)))
    values = np.nansum((points - 0.3) ** 2, axis=1)
    return GaussianProcess.fit(points, (values - values.mean()) / values.std(), axes=axes), points


def everything_new(points: Points) -> np.ndarray:
    return np.ones(len(points), dtype=np.bool_)


def test_warping_keeps_the_order_and_the_distances_of_the_better_half() -> None:
    values = np.array([5.0, 1.0, 2.0, 4.0, 3.0, 100.0, 7.0])
    out = warped(values)
    assert list(np.argsort(out)) == list(np.argsort(values))
    steps = np.diff(np.sort(out)[:4])
    np.testing.assert_allclose(steps, steps[0])
    assert out.mean() == pytest.approx(0)
    assert out.std() == pytest.approx(1)


def test_the_size_of_bad_values_does_not_matter() -> None:
    values = np.random.default_rng(0).normal(size=20)
    worse = np.where(values > np.median(values), np.exp(50 * values), values)
    np.testing.assert_allclose(warped(worse), warped(values))


@pytest.mark.parametrize(
    "values", [[1.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0, 1.0], [1e300, -1e300, 0.0], [1.0, 1.0, 2.0]]
)
def test_warped_values_are_numbers_of_ordinary_size(values: list[float]) -> None:
    out = warped(np.array(values))
    assert np.isfinite(out).all()
    assert np.abs(out).max() < 5


def test_equal_values_stay_equal() -> None:
    out = warped(np.array([3.0, 1.0, 9.0, 9.0, 2.0, 3.0]))
    assert out[2] == out[3]
    assert out[0] == out[5]


def test_of_many_results_the_best_the_last_and_a_spread_are_selected() -> None:
    scores = np.random.default_rng(0).permutation(1000).astype(np.float64)
    chosen = select_training_points(scores, max_points=300)
    assert len(chosen) == len(set(chosen.tolist())) == 300
    assert set(np.argsort(scores)[:100]) <= set(chosen)
    assert set(range(960, 1000)) <= set(chosen)
    counts, _ = np.histogram(scores[chosen], bins=5, range=(200, 1000))
    assert counts.min() > 15


def test_few_results_are_all_selected_in_their_order() -> None:
    assert list(select_training_points(np.array([3.0, 1.0, 2.0]), max_points=3)) == [0, 1, 2]


def test_a_spread_over_ranks_includes_the_best_and_the_worst() -> None:
    scores = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    assert list(spread_over_ranks(scores, max_points=3)) == [0, 2, 4]


def region_after(values: Array, *, d: int = 25) -> TrustRegion:
    return TrustRegion.after(values, d=d, n_startup=8)


def test_a_trust_region_shrinks_after_failures_and_grows_after_successes() -> None:
    begun = np.full(8, 10.0)
    assert region_after(begun).length == FIRST_LENGTH
    failed = np.concatenate([begun, np.full(25, 11.0)])
    assert region_after(failed[:-1]).length == FIRST_LENGTH
    assert region_after(failed).length == FIRST_LENGTH / 2
    succeeded = np.concatenate([failed, 9.0 - np.arange(SUCCESSES)])
    assert region_after(succeeded).length == FIRST_LENGTH


def test_a_gain_within_rounding_is_no_success() -> None:
    creeping = np.concatenate([np.full(8, 10.0), 10.0 - 1e-4 * np.arange(1, 26)])
    assert region_after(creeping).length == FIRST_LENGTH / 2


def test_a_trust_region_restarts_below_the_minimum_length() -> None:
    n_halvings = int(np.ceil(np.log2(FIRST_LENGTH / MIN_LENGTH)))
    values = np.concatenate([np.full(8, 10.0), np.full(25 * n_halvings, 11.0)])
    assert region_after(values[:-1]).since == 0
    assert region_after(values) == TrustRegion(FIRST_LENGTH, since=len(values))


def test_a_trust_region_is_longer_along_axes_that_matter_less() -> None:
    lengths = np.full(25, 1.0)
    lengths[3] = 10.0
    box = TrustRegion(0.4, 0).box(np.full(25, 0.5), lengthscales=lengths, is_free=np.ones(25, dtype=np.bool_))
    sides = box.high - box.low
    assert sides[3] == 1.0
    assert sides[0] == pytest.approx(0.4 * 10 ** (-1 / 25))


def test_all_candidates_are_canonical_points_of_the_space() -> None:
    axes = Axes(space_of(CONDITIONAL))
    neighbourhood, generator, box = Neighbourhood(axes), np.random.default_rng(0), Box.whole(axes.d)
    spread = neighbourhood.spread(generator, box, n=100)
    near = neighbourhood.mutations(generator, spread[:5], box=box, n=20)
    steps, _ = neighbourhood.neighbours(spread[:10], box)
    for points in (spread, near, steps):
        assert row_keys(points) == row_keys(axes.canonical(points))
    assert row_keys(neighbourhood.canonical(generator.random((50, axes.d)))) != []


def test_neighbours_are_all_values_of_each_short_axis() -> None:
    axes = Axes(space_of({"c": ["a", "b", "c"], "k": {"int": [1, 8], "log": True}, "x": {"float": [0, 1]}}))
    point = axes.points([{"c": "a", "k": 3, "x": 0.4}])
    near, owners = Neighbourhood(axes).neighbours(point, Box.whole(axes.d))
    found = [axes.configuration(each) for each in near]
    expected = [{"c": c, "k": 3} for c in ("b", "c")] + [{"c": "a", "k": k} for k in (1, 2, 4, 5, 6, 7, 8)]
    assert sorted(({k: c[k] for k in ("c", "k")} for c in found), key=str) == sorted(expected, key=str)
    assert set(owners) == {0}


def test_candidates_stay_within_the_box() -> None:
    axes = Axes(space_of({f"x{i}": {"float": [0, 1]} for i in range(4)} | {"c": ["a", "b"], "k": {"int": [0, 9]}}))
    box = Box(np.full(axes.d, 0.3), np.full(axes.d, 0.6), axes.canonical(np.full((1, axes.d), 0.45))[0], 0.5)
    neighbourhood, generator = Neighbourhood(axes), np.random.default_rng(0)
    spread = neighbourhood.spread(generator, box, n=200)
    near = neighbourhood.mutations(generator, spread[:10], box=box, n=20)
    steps, _ = neighbourhood.neighbours(spread[:10], box)
    for points in (spread, near, steps):
        assert points[:, :4].min() >= 0.3
        assert points[:, :4].max() <= 0.6
    moved = (spread != box.centre).mean(axis=0)
    assert 0.3 < moved[:4].mean() < 0.7


def test_in_a_table_it_finds_the_best_of_all_configurations() -> None:
    axes = Axes(space_of({"a": {"int": [0, 9]}, "b": {"int": [0, 9]}, "c": list("uvwxy"), "e": {"int": [0, 9]}}))
    every = axes.points(
        [{"a": a, "b": b, "c": c, "e": e} for a, b, c, e in itertools.product(range(10), range(10), "uvwxy", range(10))]
    )
    n_found = 0
    for seed in range(10):
        process, points = process_of(axes, 25, seed=seed)
        acquisition = LogExpectedImprovement(process, process.posterior(points)[0].min(axis=1), feasibility=None)
        optimizer = AcquisitionOptimizer(
            acquisition, Neighbourhood(axes), box=Box.whole(axes.d), generator=np.random.default_rng(seed)
        )
        found = optimizer.best(points[:3], budget=BUDGET, is_new=everything_new)
        assert found is not None
        n_found += bool(acquisition(found[None])[0] >= acquisition(every).max() - 1e-9)
    assert n_found >= 9


def test_on_reals_it_finds_a_maximum_far_from_random_points() -> None:
    axes = Axes(space_of({f"x{i}": {"float": [0, 1]} for i in range(6)}))
    process, points = process_of(axes, 40)
    acquisition = LogExpectedImprovement(process, process.posterior(points)[0].min(axis=1), feasibility=None)
    optimizer = AcquisitionOptimizer(
        acquisition, Neighbourhood(axes), box=Box.whole(axes.d), generator=np.random.default_rng(0)
    )
    found = optimizer.best(points[:3], budget=BUDGET, is_new=everything_new)
    assert found is not None
    random = acquisition(np.random.default_rng(1).random((20_000, 6))).max()
    assert acquisition(found[None])[0] > random


def test_the_best_new_point_is_returned_if_better_ones_are_known() -> None:
    axes = Axes(space_of({"a": {"int": [0, 9]}, "b": {"int": [0, 9]}}))
    process, points = process_of(axes, 25)
    acquisition = LogExpectedImprovement(process, process.posterior(points)[0].min(axis=1), feasibility=None)
    every = axes.points([{"a": a, "b": b} for a in range(10) for b in range(10)])
    in_order = every[np.argsort(-acquisition(every), kind="stable")]
    known = set(row_keys(in_order[:7]))

    def is_new(asked: Points) -> np.ndarray:
        return np.array([key not in known for key in row_keys(asked)])

    optimizer = AcquisitionOptimizer(
        acquisition, Neighbourhood(axes), box=Box.whole(2), generator=np.random.default_rng(0)
    )
    found = optimizer.best(points[:3], budget=BUDGET, is_new=is_new)
    assert found is not None
    assert acquisition(found[None])[0] == pytest.approx(acquisition(in_order[7:8])[0])


def test_it_returns_none_if_nothing_is_new() -> None:
    axes = Axes(space_of({"a": {"int": [0, 3]}}))
    process, points = process_of(axes, 4)
    acquisition = LogExpectedImprovement(process, np.zeros(1), feasibility=None)
    optimizer = AcquisitionOptimizer(
        acquisition, Neighbourhood(axes), box=Box.whole(1), generator=np.random.default_rng(0)
    )
    assert optimizer.best(points, budget=BUDGET, is_new=lambda asked: np.zeros(len(asked), dtype=np.bool_)) is None
