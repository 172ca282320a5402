"""What every sampler promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from tunefleet.parameters import LogRange
from tunefleet.space import Configuration, Space, configuration_hash
from tunefleet.spec import StudySpec
from tunefleet_master.search.grid import GridSampler
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.registry import SAMPLERS
from tunefleet_master.search.sampler import Sampler
from tunefleet_master.search.sobol import SobolSampler

MIXED: dict[str, Any] = {
    "lr": {"log": [1e-6, 1e-1]},
    "batch_size": {"int": [16, 256], "log": True},
    "optimizer": ["sgd", "adam"],
    "momentum": {"float": [0.0, 0.99], "when": "optimizer == 'sgd'"},
    "layers": {"int": [1, 3]},
    "width": {"choice": [16, 32], "when": "layers > 1"},
    "epochs": {"fixed": 3},
}


def space_of(parameters: dict[str, Any], *constraints: str) -> Space:
    spec = {
        "name": "s",
        "objective": {"metric": "m", "goal": "minimize"},
        "run": {"function": "a:b"},
        "space": parameters,
        "constraints": list(constraints),
    }
    return StudySpec.parse(spec).search_space


@pytest.fixture(params=sorted(SAMPLERS))
def kind(request: pytest.FixtureRequest) -> type[Sampler]:
    return SAMPLERS[request.param]


def drawn(proposals: Sequence[Configuration | None]) -> list[Configuration]:
    return [proposal for proposal in proposals if proposal is not None]


def test_every_proposal_is_a_configuration_of_the_space(kind: type[Sampler]) -> None:
    space = space_of(MIXED)
    for configuration in drawn(kind(space, seed=1).propose(0, 300)):
        assert space.check(configuration) == configuration


def test_constraints_are_kept(kind: type[Sampler]) -> None:
    space = space_of(MIXED, "batch_size * lr <= 1", "layers != 2 or width == 16")
    configurations = drawn(kind(space, seed=1).propose(0, 300))
    assert configurations
    assert all(c["batch_size"] * c["lr"] <= 1 for c in configurations)  # type: ignore[operator]
    assert all(c["width"] == 16 for c in configurations if c["layers"] == 2)


def test_the_same_seed_and_position_give_the_same_proposals_however_many_are_asked_for(kind: type[Sampler]) -> None:
    space = space_of(MIXED)
    at_once = list(kind(space, seed=3).propose(0, 64))
    sampler = kind(space, seed=3)
    piecewise: list[Configuration | None] = []
    for n in (1, 2, 5, 24, 32):
        piecewise += sampler.propose(len(piecewise), n)
    restarted = list(kind(space, seed=3).propose(40, 24))
    assert piecewise == at_once
    assert restarted == at_once[40:]


def test_a_space_of_one_value_has_one_configuration(kind: type[Sampler]) -> None:
    assert drawn(kind(space_of({"a": {"fixed": 1}}), seed=0).propose(0, 3))[0] == {"a": 1}


@pytest.mark.parametrize("sampler", [RandomSampler, SobolSampler])
def test_another_seed_gives_other_proposals(sampler: type[Sampler]) -> None:
    space = space_of(MIXED)
    assert list(sampler(space, seed=1).propose(0, 8)) != list(sampler(space, seed=2).propose(0, 8))


@pytest.mark.parametrize("sampler", [RandomSampler, SobolSampler])
def test_a_log_range_gives_each_decade_its_share(sampler: type[Sampler]) -> None:
    space = space_of({"lr": {"log": [1e-6, 1e-1]}, "x": {"float": [0, 1]}})
    rates = [c["lr"] for c in drawn(sampler(space, seed=0).propose(0, 1000))]
    for exponent in range(-6, -1):
        share = sum(10.0**exponent <= rate < 10.0 ** (exponent + 1) for rate in rates) / 1000  # type: ignore[operator]
        assert share == pytest.approx(0.2, abs=0.04)


def test_sobol_covers_each_axis_more_evenly_than_random() -> None:
    space = space_of({name: {"float": [0, 1]} for name in "abcde"})

    def filled(sampler: Sampler) -> int:
        points = drawn(sampler.propose(0, 64))
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
    grid = drawn(GridSampler(space, seed=0).propose(0, 100))
    assert len(grid) == len({configuration_hash(c) for c in grid}) == 3 * (2 + 1)
    assert isinstance(space.parameters["lr"], LogRange)
    assert sorted({c["lr"] for c in grid}) == pytest.approx([1e-4, 1e-3, 1e-2])  # type: ignore[type-var]
