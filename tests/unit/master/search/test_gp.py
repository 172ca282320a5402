"""The sampler on Gaussian processes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tests.unit.master.search.search_runs import (
    best_found,
    end,
    history_of,
    mann_whitney_p,
    number,
    space_of,
)

from tunefleet.study.space import Configuration
from tunefleet_master.search.gp import N_STARTUP, GpSampler
from tunefleet_master.search.history import History, Outcome
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.sobol import SobolSampler

MIXED: dict[str, Any] = {
    "x": {"float": [0, 1]},
    "y": {"log": [1e-4, 1]},
    "k": {"int": [1, 12]},
    "c": ["one", "two", "three"],
    "z": {"float": [0, 1], "when": "c == 'two'"},
}


def valley(configuration: Configuration) -> float:
    """The least value is 0, at x = 0.3, y = 1e-3, k = 7, c = two, z = 0.8."""
    far = (number(configuration, "x") - 0.3) ** 2 + (math.log10(number(configuration, "y")) / 4 + 0.75) ** 2
    far += ((number(configuration, "k") - 7) / 12) ** 2
    return far + ((number(configuration, "z") - 0.8) ** 2 if configuration["c"] == "two" else 0.5)


def drawn(sampler: GpSampler, history: History, n: int = 1) -> list[Configuration]:
    found = sampler.propose(history.n, n, history=history)
    return [configuration for configuration in found if configuration is not None]


def random_history(parameters: dict[str, Any], n: int, function: Any, *, seed: int = 0) -> History:
    space = space_of(parameters)
    trials = RandomSampler(space, seed=seed).propose(0, n, history=History(space))
    return history_of(space, [trial for trial in trials if trial is not None], function)


def test_it_finds_better_values_than_random_search() -> None:
    assert mann_whitney_p(GpSampler, space_of(MIXED), valley, n=18, n_seeds=6) < 0.05


def test_it_comes_close_to_an_optimum_within_forty_trials() -> None:
    assert best_found(GpSampler(space_of(MIXED), seed=0), valley, 40) < 1e-3


def test_it_starts_with_the_initial_design() -> None:
    space = space_of(MIXED)
    history = History(space)
    cover = SobolSampler(space, seed=5).propose(0, N_STARTUP, history=history)
    for position in range(N_STARTUP):
        (configuration,) = GpSampler(space, seed=5).propose(position, 1, history=history)
        assert configuration == cover[position]
        assert configuration is not None
        end(history, configuration, valley(configuration))
    assert drawn(GpSampler(space, seed=5), history) != SobolSampler(space, seed=5).propose(8, 1, history=history)


def test_proposals_of_a_batch_differ() -> None:
    space: dict[str, Any] = {"x": {"float": [0, 1]}, "y": {"float": [0, 1]}}
    history = random_history(space, 15, lambda c: (number(c, "x") - 0.4) ** 2 + (number(c, "y") - 0.6) ** 2)
    found = drawn(GpSampler(space_of(space), seed=0), history, 8)
    points = np.array([[number(c, "x"), number(c, "y")] for c in found])
    apart = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)) + np.eye(8)
    assert apart.min() > 1e-3


def test_one_lucky_noisy_value_does_not_trap_the_search() -> None:
    """Trials near it show that its surroundings are bad, and the search leaves."""
    space = space_of({"x": {"float": [0, 1]}})
    noise = np.random.default_rng(0)

    def noisy(configuration: Configuration) -> float:
        return (number(configuration, "x") - 0.2) ** 2 + 0.05 * float(noise.standard_normal())

    history = history_of(space, [{"x": float(x)} for x in np.linspace(0, 1, 30)], noisy)
    end(history, {"x": 0.93}, -0.1)
    sampler = GpSampler(space, seed=0)
    for _ in range(15):
        (configuration,) = drawn(sampler, history)
        end(history, configuration, noisy(configuration))
    tried = history.points[31:, 0]
    assert np.mean(tried < 0.5) > 0.6


def test_an_optimum_at_a_constraint_is_found() -> None:
    space = space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}}, "x + y <= 1")
    sampler = GpSampler(space, seed=1)
    best = best_found(sampler, lambda c: -number(c, "x") - 2 * number(c, "y") + 3 * number(c, "x") * number(c, "y"), 30)
    assert best < -1.98


def test_an_infeasible_region_is_avoided_although_values_improve_towards_it() -> None:
    parameters: dict[str, Any] = {"x": {"float": [0, 1]}, "y": {"float": [0, 1]}}
    history = random_history(parameters, 0, valley)
    for configuration in SobolSampler(history.axes.space, seed=0).propose(0, 30, history=history):
        assert configuration is not None
        if number(configuration, "x") > 0.6:
            end(history, configuration, outcome=Outcome.INFEASIBLE)
        else:
            end(history, configuration, -number(configuration, "x"))
    found = drawn(GpSampler(history.axes.space, seed=0), history, 10)
    x = np.array([number(configuration, "x") for configuration in found])
    assert np.mean(x > 0.7) < 0.3
    assert np.mean((x > 0.4) & (x < 0.7)) > 0.5


def test_many_dimensions_are_searched_around_the_best_point() -> None:
    parameters: dict[str, Any] = {f"x{i}": {"float": [0, 1]} for i in range(30)}
    far = random_history(parameters, 40, lambda c: sum((number(c, name) - 0.5) ** 2 for name in c))
    best = far.points[np.argmin(far.values[:, 0])]
    found = far.axes.points(drawn(GpSampler(far.axes.space, seed=0), far, 4))
    by_chance = np.abs(np.random.default_rng(0).random((100, 30)) - best).mean()
    assert np.abs(found - best).mean() < 0.8 * by_chance


def test_a_thousand_results_do_not_hide_the_best_one() -> None:
    parameters: dict[str, Any] = {f"x{i}": {"float": [0, 1]} for i in range(4)}
    history = random_history(parameters, 1_000, lambda c: sum((number(c, name) - 0.3) ** 2 for name in c))
    found = history.axes.points(drawn(GpSampler(history.axes.space, seed=0), history, 4))
    assert np.abs(found - 0.3).mean() < 0.05
