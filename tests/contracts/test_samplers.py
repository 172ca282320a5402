"""The contract of every sampler, and of samplers that learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from tunefleet.catalogue.samplers import SAMPLERS
from tunefleet.study.parameters import LogRange
from tunefleet.study.space import Configuration, Space, configuration_hash
from tunefleet.study.spec import StudySpec
from tunefleet_master.search.grid import GridSampler
from tunefleet_master.search.history import Change, Edit, History, Outcome
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.registry import sampler_class
from tunefleet_master.search.sampler import LearningSampler, Sampler
from tunefleet_master.search.sobol import SobolSampler

NUMBERS: dict[str, Any] = {
    "lr": {"log": [1e-6, 1e-1]},
    "batch_size": {"int": [16, 256], "log": True},
    "layers": {"int": [1, 3]},
    "epochs": {"fixed": 3},
}
MIXED: dict[str, Any] = {
    **NUMBERS,
    "optimizer": ["sgd", "adam"],
    "momentum": {"float": [0.0, 0.99], "when": "optimizer == 'sgd'"},
    "width": {"choice": [16, 32], "when": "layers > 1"},
}
CONSTRAINTS = ("batch_size * lr <= 1", "layers != 2 or batch_size > 20")

Outcomes = Callable[[Configuration], tuple[Outcome, float]]


def space_of(parameters: dict[str, Any], *constraints: str) -> Space:
    spec = {
        "name": "s",
        "objective": {"metric": "m", "goal": "minimize"},
        "run": {"function": "a:b"},
        "space": parameters,
        "constraints": list(constraints),
    }
    return StudySpec.parse(spec).search_space


def parameters_for(kind: type[Sampler]) -> dict[str, Any]:
    return MIXED if SAMPLERS[kind.name].takes_choices and SAMPLERS[kind.name].takes_conditions else NUMBERS


def number(configuration: Configuration, name: str) -> float:
    return float(cast("float", configuration[name]))


def loss(configuration: Configuration) -> tuple[Outcome, float]:
    """Return a loss that is best at a learning rate of 1e-3, and slightly worse for larger batches and more layers."""
    distance = abs(math.log10(number(configuration, "lr")) + 3)
    return Outcome.COMPLETE, distance + 0.001 * number(configuration, "batch_size") + number(configuration, "layers")


def drawn(proposals: Sequence[Configuration | None]) -> list[Configuration]:
    return [proposal for proposal in proposals if proposal is not None]


def history_of(space: Space, n: int, outcomes: Outcomes, *, seed: int = 0, sign: float = 1.0) -> History:
    """A history of random trials that have ended."""
    history = History(space, signs=(sign,))
    for configuration in drawn(RandomSampler(space, seed=seed).propose(0, n, history=history)):
        end(history, begin(history, configuration), *outcomes(configuration))
    return history


def begin(history: History, configuration: Configuration) -> int:
    trial = history.n
    history.fold([Change(trial, Outcome.PENDING, params=configuration)])
    return trial


def end(history: History, trial: int, outcome: Outcome, value: float = math.nan) -> None:
    values = (value,) if outcome in (Outcome.COMPLETE, Outcome.PRUNED) else ()
    history.fold([Change(trial, outcome, values=values, steps=1)])


@pytest.fixture(params=sorted(name for name, traits in SAMPLERS.items() if not traits.trains_population))
def kind(request: pytest.FixtureRequest) -> type[Sampler]:
    return sampler_class(request.param)


@pytest.fixture(params=sorted(name for name, traits in SAMPLERS.items() if traits.takes_warm_start))
def learner(request: pytest.FixtureRequest) -> type[Sampler]:
    return sampler_class(request.param)


def test_a_sampler_declares_whether_it_learns(kind: type[Sampler]) -> None:
    assert kind.learns == issubclass(kind, LearningSampler)


@pytest.mark.parametrize("n_known", [0, 25])
def test_every_proposal_is_a_configuration_of_the_space(kind: type[Sampler], n_known: int) -> None:
    space = space_of(parameters_for(kind))
    history = history_of(space, n_known, loss)
    proposals = drawn(kind(space, seed=1).propose(n_known, 20, history=history))
    assert proposals
    for configuration in proposals:
        assert space.check(configuration) == configuration


@pytest.mark.parametrize("n_known", [0, 25])
def test_constraints_are_kept(kind: type[Sampler], n_known: int) -> None:
    space = space_of(parameters_for(kind), *CONSTRAINTS)
    history = history_of(space, n_known, loss)
    proposals = drawn(kind(space, seed=1).propose(n_known, 20, history=history))
    assert proposals
    assert all(number(c, "batch_size") * number(c, "lr") <= 1 for c in proposals)
    assert all(number(c, "batch_size") > 20 for c in proposals if c["layers"] == 2)


@pytest.mark.parametrize("n_known", [0, 25])
def test_the_first_proposals_do_not_depend_on_the_batch_size(kind: type[Sampler], n_known: int) -> None:
    space = space_of(parameters_for(kind), *CONSTRAINTS)
    history = history_of(space, n_known, loss)
    batch = list(kind(space, seed=3).propose(7, 8, history=history))
    assert [list(kind(space, seed=3).propose(7, n, history=history)) for n in (1, 5)] == [batch[:1], batch[:5]]


def test_a_used_sampler_proposes_the_same_as_a_new_one(kind: type[Sampler]) -> None:
    space = space_of(parameters_for(kind))
    history = history_of(space, 40, loss)
    used = kind(space, seed=3)
    for position, n_known in enumerate((0, 12, 30, 20)):
        used.propose(position, 2, history=history_of(space, n_known, loss, seed=n_known))
    assert list(used.propose(40, 3, history=history)) == list(kind(space, seed=3).propose(40, 3, history=history))


@pytest.mark.parametrize("sampler", [GridSampler, RandomSampler, SobolSampler])
def test_a_sampler_that_does_not_learn_follows_one_sequence(sampler: type[Sampler]) -> None:
    space = space_of(MIXED)
    history = History(space)
    at_once = list(sampler(space, seed=3).propose(0, 64, history=history))
    walking = sampler(space, seed=3)
    piecewise: list[Configuration | None] = []
    for n in (1, 2, 5, 24, 32):
        piecewise += walking.propose(len(piecewise), n, history=history_of(space, n, loss))
    restarted = list(sampler(space, seed=3).propose(40, 24, history=history))
    assert piecewise == at_once
    assert restarted == at_once[40:]


def test_a_space_of_one_value_has_one_configuration(kind: type[Sampler]) -> None:
    space = space_of({"a": {"fixed": 1}})
    assert drawn(kind(space, seed=0).propose(0, 3, history=History(space)))[0] == {"a": 1}


@pytest.mark.parametrize("n_known", [0, 25])
def test_of_64_in_flight_no_two_are_equal(learner: type[Sampler], n_known: int) -> None:
    space = space_of(parameters_for(learner))
    history = history_of(space, n_known, loss)
    batch = drawn(learner(space, seed=5).propose(n_known, 64, history=history))
    assert len({configuration_hash(configuration) for configuration in batch}) == 64


def test_tried_and_pending_configurations_are_not_proposed_again(learner: type[Sampler]) -> None:
    """Exhaust a finite space; then the sampler proposes nothing."""
    space = space_of({"a": {"int": [1, 4]}, "b": {"int": [1, 8], "log": True}}, "a + b <= 10")
    n_allowed = sum(a + b <= 10 for a in range(1, 5) for b in range(1, 9))
    history = History(space)
    sampler = learner(space, seed=2)
    running: list[int] = []
    for position in range(n_allowed):
        (configuration,) = sampler.propose(position, 1, history=history)
        assert configuration is not None
        running.append(begin(history, configuration))
        if len(running) > 5:
            end(history, running.pop(0), Outcome.COMPLETE, number(configuration, "a"))
    assert len({configuration_hash(space.from_unit(at)) for at in _units(history)}) == n_allowed
    assert list(sampler.propose(n_allowed, 3, history=history)) == [None, None, None]


def _units(history: History) -> list[dict[str, float]]:
    return [dict(zip(history.axes.space.names, point.tolist(), strict=True)) for point in history.points]


def test_regions_that_cannot_be_trained_are_proposed_less(learner: type[Sampler]) -> None:
    space = space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})

    def outcome(configuration: Configuration) -> tuple[Outcome, float]:
        if number(configuration, "x") > 0.5:
            return Outcome.INFEASIBLE, math.nan
        return Outcome.COMPLETE, abs(number(configuration, "y") - 0.3)

    proposals = [
        configuration
        for seed in range(4)
        for configuration in drawn(
            learner(space, seed=seed).propose(40, 10, history=history_of(space, 40, outcome, seed=seed))
        )
    ]
    # A sampler without results would get fewer than 14 of 40 with a probability of 2 %.
    assert sum(number(configuration, "x") > 0.5 for configuration in proposals) < 14


def test_after_only_failures_it_proposes_elsewhere(learner: type[Sampler]) -> None:
    space = space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})
    history = history_of(space, 30, lambda _: (Outcome.INFEASIBLE, math.nan))
    assert len(drawn(learner(space, seed=0).propose(30, 5, history=history))) == 5


def test_failures_unrelated_to_the_configuration_change_no_proposal(learner: type[Sampler]) -> None:
    space = space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})

    def outcome(configuration: Configuration) -> tuple[Outcome, float]:
        return Outcome.COMPLETE, number(configuration, "x")

    plain, with_failures = (history_of(space, 20, outcome) for _ in range(2))
    losses: list[Configuration] = [{"x": 0.01, "y": 0.5}, {"x": 0.9, "y": 0.1}]
    for lost in losses:
        end(with_failures, begin(with_failures, lost), Outcome.UNKNOWN)
    proposals = [list(learner(space, seed=0).propose(22, 3, history=each)) for each in (plain, with_failures)]
    assert proposals[0] == proposals[1]


def test_maximising_is_minimising_the_negative(learner: type[Sampler]) -> None:
    space = space_of(parameters_for(learner))
    down = history_of(space, 25, loss)
    up = history_of(space, 25, lambda c: (Outcome.COMPLETE, -loss(c)[1]), sign=-1.0)
    assert list(learner(space, seed=4).propose(25, 3, history=down)) == list(
        learner(space, seed=4).propose(25, 3, history=up)
    )


@pytest.mark.parametrize("value", [lambda _: 0.5, lambda c: 10 ** (40 * (number(c, "lr") > 1e-4)), lambda _: math.nan])
def test_degenerate_results_raise_no_error(learner: type[Sampler], value: Callable[[Configuration], float]) -> None:
    """Results may all be equal, extreme, or not finite."""
    space = space_of(parameters_for(learner))
    history = history_of(space, 25, lambda configuration: (Outcome.COMPLETE, value(configuration)))
    assert len(drawn(learner(space, seed=6).propose(25, 3, history=history))) == 3


def test_samplers_learn_from_pruned_trials(learner: type[Sampler]) -> None:
    space = space_of(parameters_for(learner))
    history = History(space)
    for i, configuration in enumerate(drawn(RandomSampler(space, seed=1).propose(0, 30, history=history))):
        trial, value = begin(history, configuration), loss(configuration)[1]
        history.fold([Change(trial, Outcome.PENDING, values=(value + 1,), steps=1, rung=1)])
        if i % 3 == 0:
            history.fold([Change(trial, Outcome.PENDING, values=(value,), steps=3, rung=3)])
        if i < 25:
            end(history, trial, Outcome.PRUNED, value)
    first = drawn(learner(space, seed=1).propose(30, 3, history=history))
    assert [space.check(configuration) for configuration in first] == first
    assert list(learner(space, seed=1).propose(30, 3, history=history)) == first


def test_after_an_edit_only_the_new_space_is_proposed(learner: type[Sampler]) -> None:
    history = history_of(space_of(parameters_for(learner)), 25, loss)
    edited = space_of({**parameters_for(learner), "lr": {"log": [1e-4, 1]}, "depth": {"int": [1, 5]}})
    history.fold([Edit(edited)])
    for configuration in drawn(learner(edited, seed=0).propose(25, 12, history=history)):
        assert edited.check(configuration) == configuration


def test_proposals_improve_with_results(learner: type[Sampler]) -> None:
    """Over several seeds, new proposals are better than random ones."""
    space = space_of({"x": {"float": [0, 1]}, "y": {"log": [1e-4, 1]}, "z": {"int": [1, 20]}})

    def outcome(configuration: Configuration) -> tuple[Outcome, float]:
        far = (number(configuration, "x") - 0.7) ** 2 + (math.log10(number(configuration, "y")) / 4 + 0.3) ** 2
        return Outcome.COMPLETE, far + (number(configuration, "z") / 20 - 0.4) ** 2

    proposed = [
        outcome(configuration)[1]
        for seed in range(4)
        for configuration in drawn(
            learner(space, seed=seed).propose(40, 8, history=history_of(space, 40, outcome, seed=seed))
        )
    ]
    by_chance = history_of(space, 200, outcome, seed=99).values[:, 0]
    assert np.median(proposed) < np.quantile(by_chance, 0.3)


@pytest.mark.parametrize("sampler", [RandomSampler, SobolSampler])
def test_another_seed_gives_other_proposals(sampler: type[Sampler]) -> None:
    space = space_of(MIXED)
    first, second = (list(sampler(space, seed=seed).propose(0, 8, history=History(space))) for seed in (1, 2))
    assert first != second


@pytest.mark.parametrize("sampler", [RandomSampler, SobolSampler])
def test_a_log_range_gives_each_decade_its_share(sampler: type[Sampler]) -> None:
    space = space_of({"lr": {"log": [1e-6, 1e-1]}, "x": {"float": [0, 1]}})
    rates = [c["lr"] for c in drawn(sampler(space, seed=0).propose(0, 1000, history=History(space)))]
    for exponent in range(-6, -1):
        share = sum(10.0**exponent <= rate < 10.0 ** (exponent + 1) for rate in rates) / 1000  # type: ignore[operator]
        assert share == pytest.approx(0.2, abs=0.04)


def test_sobol_covers_each_axis_more_evenly_than_random() -> None:
    space = space_of({name: {"float": [0, 1]} for name in "abcde"})

    def filled(sampler: Sampler) -> int:
        points = drawn(sampler.propose(0, 64, history=History(space)))
        return sum(len({int(64 * cast("float", point[name])) for point in points}) for name in "abcde")

    assert filled(SobolSampler(space, seed=0)) == 5 * 64
    assert filled(RandomSampler(space, seed=0)) < 5 * 50


def test_a_grid_holds_each_combination_once_in_log_steps() -> None:
    space = space_of(
        {
            "lr": {"log": [1e-4, 1e-2], "points": 3},
            "opt": ["sgd", "adam"],
            "m": {"float": [0, 1], "points": 2, "when": "opt == 'sgd'"},
        }
    )
    grid = drawn(GridSampler(space, seed=0).propose(0, 100, history=History(space)))
    assert len(grid) == len({configuration_hash(c) for c in grid}) == 3 * (2 + 1)
    assert isinstance(space.parameters["lr"], LogRange)
    assert sorted({c["lr"] for c in grid}) == pytest.approx([1e-4, 1e-3, 1e-2])  # type: ignore[type-var]
