"""Aging evolution: the selection of parents and the mutation of children."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tests.unit.master.search.search_runs import end, history_of, mann_whitney_p, number, space_of

from tunefleet.study.space import Configuration
from tunefleet_master.search.evolution import LONG_POPULATION, LONG_SEARCH, SHORT_POPULATION, EvolutionSampler
from tunefleet_master.search.history import History, Outcome

FLAT: dict[str, Any] = {
    "x": {"float": [0, 1]},
    "k": {"int": [0, 9]},
    "b": {"int": [1, 64], "log": True},
    "c": ["red", "green", "blue"],
    "f": {"fixed": 7},
}
TREE: dict[str, Any] = {
    "optimizer": ["sgd", "adam"],
    "momentum": {"float": [0, 1], "when": "optimizer == 'sgd'"},
    "beta": {"float": [0, 1], "when": "optimizer == 'adam'"},
}


def children(sampler: EvolutionSampler, history: History, n: int) -> list[Configuration]:
    proposals = sampler.propose(history.n, n, history=history)
    return [child for child in proposals if child is not None]


def alone(configuration: Configuration, parameters: dict[str, Any]) -> tuple[EvolutionSampler, History]:
    """A sampler, and a history in which this configuration is the only possible parent."""
    space = space_of(parameters)
    return EvolutionSampler(space, seed=1), history_of(space, [configuration] * 60, lambda _: 1.0)


def test_a_child_differs_from_its_parent_in_one_parameter() -> None:
    parent: Configuration = {"x": 0.3, "k": 5, "b": 8, "c": "red", "f": 7}
    for child in children(*alone(parent, FLAT), 60):
        assert sum(child[name] != parent[name] for name in parent) == 1


def test_every_parameter_is_mutated() -> None:
    parent: Configuration = {"x": 0.3, "k": 5, "b": 8, "c": "red", "f": 7}
    found = children(*alone(parent, FLAT), 60)
    changed = {name for child in found for name in parent if child[name] != parent[name]}
    assert changed == {"x", "k", "b", "c"}


def test_a_number_moves_a_little_more_often_than_far() -> None:
    parent: Configuration = {"x": 0.5, "k": 500}
    found = children(*alone(parent, {"x": {"float": [0, 1]}, "k": {"int": [0, 1_000]}}), 200)
    steps = [abs(number(child, "x") - 0.5) + abs(number(child, "k") - 500) / 1_000 for child in found]
    assert np.quantile(steps, 0.5) < 0.2
    assert max(steps) > 0.3


def test_neighbours_of_an_integer_are_its_likeliest_children() -> None:
    _, history = alone({"k": 4, "y": 0.5}, {"k": {"int": [0, 9]}, "y": {"float": [0, 1]}})
    singles = [children(EvolutionSampler(history.axes.space, seed=seed), history, 1)[0] for seed in range(200)]
    moved = [int(number(child, "k")) for child in singles if child["k"] != 4]
    assert all(moved.count(near) > moved.count(far) for near, far in ((3, 1), (5, 7), (3, 9)))


def test_an_integer_at_the_end_of_its_range_moves_inwards() -> None:
    for edge, inner in ((1, 2), (2, 1)):
        sampler, history = alone({"k": edge, "y": 0.5}, {"k": {"int": [1, 2]}, "y": {"float": [0, 1]}})
        assert {child["k"] for child in children(sampler, history, 20)} == {edge, inner}


def test_activated_parameters_are_drawn_and_inactive_ones_left_out() -> None:
    sampler, history = alone({"optimizer": "sgd", "momentum": 0.5}, TREE)
    changed = [child for child in children(sampler, history, 40) if child["optimizer"] == "adam"]
    assert all(set(child) == {"optimizer", "beta"} for child in changed)
    assert len({child["beta"] for child in changed}) == len(changed) > 5


def test_parents_are_the_better_ones() -> None:
    space = space_of({"x": {"float": [0, 1]}, "c": list(range(50))})
    configurations: list[Configuration] = [{"x": i / 50, "c": i} for i in range(50)]
    history = history_of(space, configurations, lambda c: number(c, "x"))
    found = children(EvolutionSampler(space, seed=0), history, 100)
    parents = [number(child, "x") for child in found if round(number(child, "x") * 50, 9) % 1 == 0]
    assert np.median(parents) < 0.2


def test_the_oldest_are_removed_even_if_they_are_good() -> None:
    """The best 50 trials are old; only later ones are in the population."""
    space = space_of({"old": {"choice": [True, False]}, "x": {"float": [0, 1]}})
    history = History(space)
    for i in range(50):
        end(history, {"old": True, "x": i / 50}, 0.0)
    for i in range(SHORT_POPULATION):
        end(history, {"old": False, "x": i / 50}, 1.0)
    found = children(EvolutionSampler(space, seed=0), history, 60)
    inherited = [child for child in found if child["x"] not in {i / 50 for i in range(50)}]  # their x is the mutation
    assert inherited
    assert not any(child["old"] for child in inherited)


def test_a_long_search_keeps_a_larger_population() -> None:
    space = space_of({"age": {"int": [0, 10_000]}, "c": list(range(20))})

    def oldest_parent(n: int) -> float:
        history = history_of(space, [{"age": i, "c": 0} for i in range(n)], lambda c: number(c, "age"))
        found = children(EvolutionSampler(space, seed=0), history, 300)
        return n - min(number(child, "age") for child in found if child["c"] != 0)

    assert SHORT_POPULATION / 2 < oldest_parent(LONG_SEARCH) <= SHORT_POPULATION
    assert SHORT_POPULATION < oldest_parent(LONG_SEARCH + 100) <= LONG_POPULATION


def test_infeasible_trials_are_never_parents() -> None:
    space = space_of({"x": {"float": [0, 1]}, "c": list(range(20))})
    history = History(space)
    for i in range(40):
        is_sound = i % 2 == 0
        end(
            history,
            {"x": 0.2 if is_sound else 0.8, "c": i % 20},
            *([1.0] if is_sound else []),
            outcome=Outcome.COMPLETE if is_sound else Outcome.INFEASIBLE,
        )
    assert all(child["x"] != 0.8 for child in children(EvolutionSampler(space, seed=0), history, 60))


def test_with_two_objectives_parents_are_on_the_front_even_if_it_is_old() -> None:
    """The first objective is minimised, the second maximised."""
    space = space_of({"x": {"float": [0, 1]}, "group": ["front", "behind"]})
    history = History(space, signs=(1.0, -1.0))
    for i in range(SHORT_POPULATION):
        end(history, {"x": i / 50, "group": "front"}, i / 50, i / 50)
    for i in range(200):
        end(history, {"x": i / 200, "group": "behind"}, 1 + i / 200, -1 + i / 200)
    tried = set(history.points[:, 0])
    found = children(EvolutionSampler(space, seed=0), history, 60)
    moved = [child for child in found if child["x"] not in tried]  # the other parameter is the parent's
    assert len(moved) > 10
    assert all(child["group"] == "front" for child in moved)


def test_with_two_objectives_crowded_points_of_a_long_front_are_removed() -> None:
    space = space_of({"x": {"float": [0, 1]}, "c": list(range(9))})
    history = History(space, signs=(1.0, 1.0))
    places = [*(0.5 + np.arange(200) / 1e6), *(np.arange(40) / 40)]
    for x in places:
        end(history, {"x": float(x), "c": 0}, float(x), 1 - float(x))
    found = children(EvolutionSampler(space, seed=0), history, 80)
    inherited = [number(child, "x") for child in found if child["c"] != 0]
    assert len(inherited) > 10
    assert np.mean([abs(x - 0.5) < 0.001 for x in inherited]) < 0.5


def test_it_beats_random_search() -> None:
    space = space_of({**TREE, "lr": {"log": [1e-5, 1]}, "layers": {"int": [1, 8]}})

    def loss(configuration: Configuration) -> float:
        branch = abs(number(configuration, "momentum") - 0.8) if configuration["optimizer"] == "sgd" else 1.0
        return (
            branch + abs(math.log10(number(configuration, "lr")) + 2) + 0.1 * abs(number(configuration, "layers") - 3)
        )

    assert mann_whitney_p(EvolutionSampler, space, loss, n=60) < 0.05
