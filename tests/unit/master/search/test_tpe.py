"""Parzen estimators against densities computed in another way, and TPE on them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare, truncnorm
from tests.unit.master.search.search_runs import (
    configurations_in,
    end,
    history_of,
    mann_whitney_p,
    number,
    space_of,
)

from tunefleet.study.space import Configuration, Space
from tunefleet_master.search.axes import Axes, Points
from tunefleet_master.search.history import History
from tunefleet_master.search.observations import Observations
from tunefleet_master.search.parzen import AxisKinds, Parzen
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.sobol import SobolSampler
from tunefleet_master.search.tpe import MAX_BAD, MAX_GOOD, TpeSampler, split

PLAIN: dict[str, Any] = {
    "x": {"float": [0, 1]},
    "k": {"int": [0, 4]},
    "b": {"int": [1, 6], "log": True},
    "c": ["red", "green", "blue"],
    "f": {"fixed": 7},
}
CONDITIONAL: dict[str, Any] = {
    "optimizer": ["sgd", "adam"],
    "momentum": {"float": [0, 1], "when": "optimizer == 'sgd'"},
    "restarts": {"int": [1, 3], "when": "optimizer == 'adam'"},
}


def random_points(space: Space, n: int, *, seed: int = 0) -> Points:
    return Axes(space).canonical(np.random.default_rng(seed).random((n, len(space.names))))


def parzen_of(space: Space, points: Points, *, prior_weight: float = 1.0) -> Parzen:
    return Parzen(AxisKinds(Axes(space)), points, weights=np.arange(1.0, len(points) + 1), prior_weight=prior_weight)


def scott_width(coordinates: Points, d: int) -> float:
    """Scott's rule with a uniform draw as one more observation, clipped as hyperopt does."""
    n = len(coordinates)
    deviation = math.sqrt((np.var(coordinates) * n + 1 / 12) / (n + 1))
    return float(np.clip(deviation * n ** (-1 / (d + 4)), 1 / min(100, n + 2), 1.0))


def density_by_definition(space: Space, points: Points, at: Configuration) -> float:
    """The mixture of PLAIN at one configuration, kernel by kernel with scipy's truncated normal."""
    n = len(points)
    weights = [*range(1, n + 1), 1.0]
    axes = dict(zip(space.names, points.T, strict=True))

    def gaussian(name: str, i: int) -> Any:
        centre, width = (0.5, 1.0) if i == n else (axes[name][i], scott_width(axes[name], 4))
        return truncnorm(-centre / width, (1 - centre) / width, loc=centre, scale=width)

    def chosen(i: int) -> float:
        if i == n:
            return 1 / 3
        is_same = int(axes["c"][i] * 3) == ["red", "green", "blue"].index(str(at["c"]))
        return (is_same + 1 / (n + 1)) / (1 + 3 / (n + 1))

    k, b = number(at, "k"), number(at, "b")
    edges = [math.log(edge / 0.5) / math.log(6.5 / 0.5) for edge in (b - 0.5, b + 0.5)]
    total = 0.0
    for i, weight in enumerate(weights):
        in_k = gaussian("k", i).cdf((k + 1) / 5) - gaussian("k", i).cdf(k / 5)
        in_b = gaussian("b", i).cdf(edges[1]) - gaussian("b", i).cdf(edges[0])
        total += weight * gaussian("x", i).pdf(number(at, "x")) * in_k * in_b * chosen(i)
    return float(total / sum(weights))


def test_the_density_is_a_mixture_of_products_of_truncated_gaussians_cells_and_smoothed_choices() -> None:
    space = space_of(PLAIN)
    points = random_points(space, 5)
    at = random_points(space, 20, seed=1)
    expected = [density_by_definition(space, points, Axes(space).configuration(point)) for point in at]
    assert np.exp(parzen_of(space, points).log_density(at)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_the_density_of_a_conditional_space_sums_to_one(n: int) -> None:
    space = space_of(CONDITIONAL)
    parzen = parzen_of(space, random_points(space, n))
    momenta = (np.arange(2_000) + 0.5) / 2_000
    sgd: list[Configuration] = [{"optimizer": "sgd", "momentum": float(momentum)} for momentum in momenta]
    adam: list[Configuration] = [{"optimizer": "adam", "restarts": restarts} for restarts in (1, 2, 3)]
    axes = Axes(space)
    density = np.exp(parzen.log_density(axes.points(sgd)))
    mass = np.exp(parzen.log_density(axes.points(adam)))
    assert density.mean() + mass.sum() == pytest.approx(1, abs=1e-6)


def test_draws_follow_the_density() -> None:
    space = space_of({"k": {"int": [0, 3]}, "b": {"int": [1, 4], "log": True}, "c": ["red", "green", "blue"]})
    parzen = parzen_of(space, random_points(space, 4))
    axes = Axes(space)
    every = axes.points(
        [
            dict(zip("kbc", each, strict=True))
            for each in itertools.product(range(4), range(1, 5), space.parameters["c"].grid())
        ]
    )
    configurations_in = axes.canonical(parzen.draw(np.random.default_rng(0), 20_000))
    counts = [int(np.isclose(configurations_in, point).all(axis=1).sum()) for point in every]
    expected = np.exp(parzen.log_density(every))
    assert sum(counts) == 20_000
    assert expected.sum() == pytest.approx(1)
    assert chisquare(counts, expected / expected.sum() * 20_000).pvalue > 0.001


def test_an_axis_that_is_not_active_is_not_modelled() -> None:
    """Values of momentum do not affect the density of trials with another optimizer."""
    space = space_of(CONDITIONAL)
    axes = Axes(space)
    some, others = (
        parzen_of(space, axes.points([{"optimizer": "sgd", "momentum": m} for m in momenta]))
        for momenta in ([0.1, 0.1, 0.1], [0.9, 0.3, 0.7])
    )
    at = axes.points([{"optimizer": "adam", "restarts": restarts} for restarts in (1, 2, 3)])
    assert some.log_density(at).tolist() == others.log_density(at).tolist()


def test_the_cells_of_an_integer_far_from_all_kernels_still_have_a_density() -> None:
    space = space_of({"k": {"int": [0, 10**6]}})
    axes = Axes(space)
    parzen = parzen_of(space, np.repeat(axes.points([{"k": 0}]), 200, axis=0))
    assert np.isfinite(parzen.log_density(axes.points([{"k": 10**6}]))).all()


def evidence_of(n: int, *, infeasible: int = 0, pending: int = 0) -> Observations:
    """Results in random order with scores that rise with the first coordinate; the others lie at 2 and 3."""
    at = np.random.default_rng(0).permutation(n) / max(n, 1)
    return Observations(
        points=np.column_stack([at, np.zeros(n)]),
        scores=at,
        infeasible=np.full((infeasible, 2), 2.0),
        pending=np.full((pending, 2), 3.0),
        are_ranks=False,
    )


def test_the_best_tenth_is_good_and_everything_else_is_bad() -> None:
    good, bad = split(evidence_of(31, pending=2))
    assert good[:, 0] == pytest.approx([0, 1 / 31, 2 / 31, 3 / 31])
    assert len(bad) == 27 + 2
    assert set(bad[-2:, 0]) == {3.0}


def test_infeasible_points_are_worse_than_any_result() -> None:
    good, bad = split(evidence_of(2, infeasible=50))
    assert good[:, 0].tolist() == [0, 0.5]
    assert set(bad[:, 0]) == {2.0}


def test_in_a_long_study_both_groups_stay_few_and_the_bad_ones_are_a_fair_sample() -> None:
    good, bad = split(evidence_of(10_000, pending=40))
    assert len(good) == MAX_GOOD
    assert len(bad) == MAX_BAD + 40
    assert np.quantile(bad[:MAX_BAD, 0], [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.1)
    assert set(bad[MAX_BAD:, 0]) == {3.0}


def test_the_first_ten_results_come_from_the_initial_design() -> None:
    space = space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})
    history = History(space)
    cover = SobolSampler(space, seed=5).propose(0, 12, history=history)
    sampler = TpeSampler(space, seed=5)
    for position in range(10):
        assert sampler.propose(position, 2, history=history) == cover[position : position + 2]
        end(history, {"x": position / 10, "y": 0.5}, position)
    assert sampler.propose(10, 2, history=history)[0] != cover[10]


def test_proposals_in_flight_stay_apart() -> None:
    """Eight proposals of one batch spread more than eight independent ones."""
    space = space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})
    configurations = configurations_in(RandomSampler(space, seed=0).propose(0, 30, history=History(space)))
    history = history_of(space, configurations, lambda c: (number(c, "x") - 0.5) ** 2 + (number(c, "y") - 0.5) ** 2)

    def nearest(proposals: Sequence[Configuration]) -> float:
        points = history.axes.points(proposals)
        distances = np.linalg.norm(points[:, None] - points, axis=2) + 9 * np.eye(len(points))
        return float(distances.min(axis=1).mean())

    def batch(seed: int) -> list[Configuration]:
        return configurations_in(TpeSampler(space, seed=seed).propose(30, 8, history=history))

    def apart(seed: int) -> list[Configuration]:
        sampler = TpeSampler(space, seed=seed)
        return configurations_in([sampler.propose(position, 1, history=history)[0] for position in range(30, 38)])

    assert np.mean([nearest(batch(seed)) for seed in range(10)]) > np.mean([nearest(apart(seed)) for seed in range(10)])


def test_it_beats_random_search() -> None:
    """A small conditional space, in which the better branch has the important parameter."""
    space = space_of({**CONDITIONAL, "lr": {"log": [1e-5, 1]}, "layers": {"int": [1, 8]}})

    def loss(configuration: Configuration) -> float:
        branch = abs(number(configuration, "momentum") - 0.8) if configuration["optimizer"] == "sgd" else 1.0
        return (
            branch + abs(math.log10(number(configuration, "lr")) + 2) + 0.1 * abs(number(configuration, "layers") - 3)
        )

    assert mann_whitney_p(TpeSampler, space, loss, n=40) < 0.05
