"""CMA-ES: its spaces, its margin on integers, and results in any order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare, norm
from tests.unit.master.search.search_runs import (
    configurations_in,
    end,
    history_of,
    mann_whitney_p,
    number,
    space_of,
)

from tunefleet.errors import InvalidInput
from tunefleet.study.parameters import IntRange
from tunefleet.study.space import Configuration
from tunefleet_master.search.cmaes import CmaesSampler, cmaes_problem
from tunefleet_master.search.history import History
from tunefleet_master.search.margin import MarginCma
from tunefleet_master.search.random import RandomSampler

SPACE: dict[str, Any] = {
    "x": {"float": [0, 1]},
    "y": {"log": [1e-4, 1]},
    "k": {"int": [1, 8]},
    "b": {"int": [1, 64], "log": True},
    "f": {"fixed": "seven"},
    "c": ["only one"],
}


def bowl(configuration: Configuration) -> float:
    """The least value is 0, at x = 0.3, y = 1e-3, k = 6, b = 4."""
    return (
        (number(configuration, "x") - 0.3) ** 2
        + (math.log10(number(configuration, "y")) / 4 + 0.75) ** 2
        + ((number(configuration, "k") - 6) / 8) ** 2
        + (math.log2(number(configuration, "b") / 4) / 6) ** 2
    )


def integer(low: int, high: int, *, log: bool = False) -> IntRange:
    return IntRange.model_validate({"int": [low, high], "log": log})


def test_only_numbers_and_fixed_parameters_are_accepted() -> None:
    assert cmaes_problem(space_of(SPACE)) is None


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"opt": ["sgd", "adam"]}, "'opt' have no order; use tpe"),
        ({"x": {"float": [0, 1]}, "y": {"float": [0, 1], "when": "x > 0.5"}}, "'y' has a condition; use tpe"),
    ],
)
def test_other_spaces_are_refused_with_a_reason_and_alternatives(parameters: dict[str, Any], reason: str) -> None:
    space = space_of(parameters)
    assert reason in str(cmaes_problem(space))
    with pytest.raises(InvalidInput, match=reason):
        CmaesSampler(space, seed=0)


@pytest.mark.parametrize("parameter", [integer(1, 6), integer(1, 6, log=True), integer(3, 4), integer(7, 90, log=True)])
def test_an_integer_is_drawn_with_the_probability_of_its_cell(parameter: IntRange) -> None:
    optimizer = MarginCma(np.array([0.4, 0.5]), sigma=0.3, integers={1: parameter})
    optimizer.reseed_rng(0)
    low, high = parameter.bounds
    counts = np.bincount(
        [parameter.from_unit(optimizer.draw()[1]) - low for _ in range(4_000)], minlength=high - low + 1
    )
    edges = [parameter.to_unit(value + 0.5) for value in range(low, high)]
    mass = np.diff(norm.cdf([-np.inf, *edges, np.inf], loc=0.5, scale=0.3))
    assert chisquare(counts, mass * 4_000).pvalue > 0.001


@pytest.mark.parametrize("log", [False, True])
def test_every_value_of_an_integer_keeps_a_minimum_probability(log: bool) -> None:
    """The margin is 1 / (d λ) on either side, even after many wins of one value."""
    parameter = integer(1, 9, log=log)
    optimizer = MarginCma(np.array([0.5, 0.5]), sigma=0.2, integers={1: parameter})
    noise = np.random.default_rng(0)
    for generation in range(60):
        optimizer.reseed_rng(generation)
        points = np.array([optimizer.draw() for _ in range(optimizer.population_size)])
        optimizer.learn(points, scores=np.abs(points[:, 1] - parameter.to_unit(5)), generator=noise)
    configurations_in = [parameter.from_unit(optimizer.draw()[1]) for _ in range(1_000)]
    margin = 1 / (2 * optimizer.population_size)
    assert np.mean([value != 5 for value in configurations_in]) > margin / 2
    assert np.mean([value == 5 for value in configurations_in]) > 0.5


def test_results_of_another_distribution_do_not_inflate_the_step_size() -> None:
    optimizer = MarginCma(np.full(3, 0.5), sigma=1e-3, integers={})
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, 8).T.astype(float)
    n = optimizer.population_size
    optimizer.learn(corners[:n], scores=np.arange(float(n)), generator=np.random.default_rng(0))
    optimizer.reseed_rng(0)
    assert np.abs([optimizer.draw() - 0.5 for _ in range(100)]).max() < 0.05


def test_it_restarts_after_convergence() -> None:
    space = space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})
    history = History(space)
    sampler = CmaesSampler(space, seed=0)
    for position in range(600):
        (configuration,) = sampler.propose(position, 1, history=history)
        assert configuration is not None
        end(history, configuration, (number(configuration, "x") - 0.5) ** 2)
    late = history.points[-60:]
    assert late.std(axis=0).max() > 0.05
    assert np.median(np.abs(history.points[100:200, 0] - 0.5)) < 0.01


def test_cached_state_does_not_change_proposals() -> None:
    space = space_of(SPACE)
    configurations = configurations_in(RandomSampler(space, seed=0).propose(0, 60, history=History(space)))
    used = CmaesSampler(space, seed=1)
    for n in (10, 11, 25, 40, 60, 30):
        history = history_of(space, configurations[:n], bowl)
        assert used.propose(n, 3, history=history) == CmaesSampler(space, seed=1).propose(n, 3, history=history)


def test_it_works_on_one_parameter() -> None:
    space = space_of({"k": {"int": [1, 2_000]}})
    configurations = configurations_in(RandomSampler(space, seed=0).propose(0, 30, history=History(space)))
    history = history_of(space, configurations, lambda configuration: abs(number(configuration, "k") - 700))
    proposals = CmaesSampler(space, seed=0).propose(30, 8, history=history)
    assert np.median([abs(number(configuration, "k") - 700) for configuration in proposals if configuration]) < 400


def test_it_beats_random_search() -> None:
    assert mann_whitney_p(CmaesSampler, space_of(SPACE), bowl, n=60) < 0.05
