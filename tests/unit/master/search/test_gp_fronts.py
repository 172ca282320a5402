"""`gp` with several objectives: the hypervolume improvement, and the fronts that it finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from tests.unit.master.search.search_runs import configurations_in, end, number, space_of

from tunefleet.study.space import Configuration, Space
from tunefleet_master.search.axes import Axes
from tunefleet_master.search.gaussian_process.box_decomposition import decompose_nondominated
from tunefleet_master.search.gaussian_process.hypervolume import (
    MAX_FRONT_POINTS,
    LogExpectedHypervolumeImprovement,
    reference_point,
)
from tunefleet_master.search.gaussian_process.process import GaussianProcess
from tunefleet_master.search.gaussian_process.warping import warped
from tunefleet_master.search.gp import N_STARTUP, GpSampler
from tunefleet_master.search.history import Change, History, Outcome
from tunefleet_master.search.observations import collect_front_observations
from tunefleet_master.search.pareto import hypervolume_2d
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.sampler import Sampler

Array = NDArray[np.float64]
Objectives = Callable[[Configuration], tuple[float, ...]]

SPACE = space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}, "z": {"float": [0, 1]}})
WORST = (1.1, 6.0)


def zdt1(params: Configuration) -> tuple[float, float]:
    """Zitzler, Deb and Thiele 2000: the front is where all but the first parameter are 0."""
    x, *others = (number(params, name) for name in ("x", "y", "z"))
    g = 1.0 + 9.0 * sum(others) / len(others)
    return x, g * (1.0 - math.sqrt(x / g))


def search(sampler: Sampler, function: Objectives, n: int, *, m: int = 2) -> History:
    history = History(sampler.space, signs=(1.0,) * m)
    for position in range(n):
        [params] = configurations_in(sampler.propose(position, 1, history=history))
        end(history, params, *function(params))
    return history


def dominated(values: Array, reference: Array) -> float:
    """The hypervolume of a front, counted box by box on the grid of all coordinates."""
    marks = [np.unique(np.append(column[column < at], at)) for column, at in zip(values.T, reference, strict=True)]
    total = 0.0
    for index in product(*(range(len(axis) - 1) for axis in marks)):
        low = np.array([axis[i] for axis, i in zip(marks, index, strict=True)])
        high = np.array([axis[i + 1] for axis, i in zip(marks, index, strict=True)])
        if (values <= low).all(axis=1).any():
            total += float((high - low).prod())
    return total


@pytest.mark.parametrize("m", [2, 3, 4])
def test_the_improvement_of_a_point_is_the_difference_of_two_hypervolumes(m: int) -> None:
    generator = np.random.default_rng(m)
    values, points = generator.random((6, m)).round(1), generator.random((30, m)).round(1)
    reference = np.full(m, 0.9)
    improvements = decompose_nondominated(values, reference).improvements(points)
    for point, gain in zip(points, improvements, strict=True):
        more = dominated(np.vstack([values, point]), reference) - dominated(values, reference)
        assert gain == pytest.approx(more, abs=1e-12)
    assert improvements.max() > 0


def test_an_empty_front_leaves_one_box() -> None:
    boxes = decompose_nondominated(np.empty((0, 3)), np.ones(3))
    assert boxes.improvements(np.array([[0.5, 0.0, 0.0]])) == pytest.approx(0.5)
    assert len(boxes.low) == 1


def gain_of(m: int, *, members: int = 3, feasibility: bool = False) -> LogExpectedHypervolumeImprovement:
    generator = np.random.default_rng(m)
    axes, points = Axes(SPACE), generator.random((12, 3))
    values = generator.standard_normal((12, m))
    processes = [
        GaussianProcess.fit(points, column, axes=axes, members=members, generator=generator) for column in values.T
    ]
    means = np.stack([process.posterior(points)[0] for process in processes], axis=2)
    labels = GaussianProcess.fit(points, np.where(points[:, 0] > 0.5, 1.0, -1.0), axes=axes) if feasibility else None
    return LogExpectedHypervolumeImprovement(processes, means, reference=reference_point(values), feasibility=labels)


@pytest.mark.parametrize("m", [2, 3])
def test_the_expected_improvement_is_the_mean_over_samples(m: int) -> None:
    gain = gain_of(m, members=1)
    at = np.random.default_rng(0).random((4, 3))
    found = [process.predict(at) for process in gain._processes]
    noise = np.random.default_rng(1).standard_normal((100_000, m))
    boxes = decompose_nondominated(gain._fronts[0], gain._reference)
    for i, expected in enumerate(np.exp(gain(at))):
        mean, variance = (np.array([getattr(each, name)[0, i] for each in found]) for name in ("mean", "variance"))
        improvements = boxes.improvements(mean + np.sqrt(variance) * noise)
        assert expected == pytest.approx(improvements.mean(), abs=4 * improvements.std() / math.sqrt(len(improvements)))


@pytest.mark.parametrize("m", [2, 4])
def test_its_gradient_is_that_of_its_values(m: int) -> None:
    gain = gain_of(m, feasibility=True)
    at, step = np.random.default_rng(0).random((3, 3)), 1e-5
    value, gradient = gain.with_gradient(at)
    assert value == pytest.approx(gain(at))
    for j in range(3):
        moved = step * np.eye(3)[j]
        assert gradient[:, j] == pytest.approx((gain(at + moved) - gain(at - moved)) / (2 * step), rel=1e-3, abs=1e-4)


def test_it_is_a_number_where_nothing_can_be_gained() -> None:
    gain = gain_of(2)
    certain = gain.with_pending(np.full((1, 3), 0.5), np.random.default_rng(0))
    value, gradient = certain.with_gradient(np.full((1, 3), 0.5))
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


def test_the_improvement_is_lower_near_a_running_trial() -> None:
    gain, at = gain_of(2), np.array([[0.3, 0.7, 0.2]])
    assert gain.with_pending(at + 1e-3, np.random.default_rng(0))(at)[0] < gain(at)[0] - 1.0


def test_the_most_crowded_points_of_a_long_front_are_left_out() -> None:
    first = np.linspace(0, 1, 3 * MAX_FRONT_POINTS[2])
    line = np.column_stack([first, 1 - first])
    axes, points = Axes(SPACE), np.random.default_rng(0).random((4, 3))
    process = GaussianProcess.fit(points, points[:, 0], axes=axes)
    gain = LogExpectedHypervolumeImprovement([process, process], [line], reference=np.full(2, 1.1), feasibility=None)
    assert len(gain._fronts[0]) == MAX_FRONT_POINTS[2]
    assert {0.0, 1.0} <= set(gain._fronts[0][:, 0])


def test_values_that_are_on_the_front_keep_their_distances() -> None:
    values = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 1e9])
    out = warped(values, unwarped_up_to=4.0)
    assert np.diff(out)[:4] == pytest.approx(np.diff(out)[0])
    assert 0 < np.diff(out)[4] < 4 * np.diff(out)[0]


def test_its_fronts_are_better_than_those_of_random_search() -> None:
    found = {
        kind: [hypervolume_2d(search(kind(SPACE, seed=seed), zdt1, N_STARTUP + 3).values, WORST) for seed in range(20)]
        for kind in (GpSampler, RandomSampler)
    }
    chance = mannwhitneyu(found[GpSampler], found[RandomSampler], alternative="greater").pvalue
    assert chance < 0.05


@pytest.mark.parametrize("m", [3, 4])
def test_it_searches_fronts_of_more_objectives(m: int) -> None:
    def distances(params: Configuration) -> tuple[float, ...]:
        at = np.array([number(params, name) for name in ("x", "y", "z")])
        return tuple(float(((at - corner) ** 2).sum()) for corner in np.vstack([np.zeros(3), np.eye(3)])[:m])

    history = search(GpSampler(SPACE, seed=0), distances, N_STARTUP + 3, m=m)
    assert np.isfinite(history.values).all()


def test_it_avoids_points_that_violate_a_bound() -> None:
    def middle_x(bound: float) -> float:
        """Return the median x of proposals if results below the bound are infeasible; the front reaches down to 0."""
        history = History(SPACE, signs=(1.0, 1.0))
        for params in configurations_in(RandomSampler(SPACE, seed=0).propose(0, 30, history=history)):
            is_bad = number(params, "x") < bound
            end(history, params, *zdt1(params), outcome=Outcome.INFEASIBLE if is_bad else Outcome.COMPLETE)
        proposed = configurations_in(GpSampler(SPACE, seed=0).propose(30, 9, history=history))
        return float(np.median([number(params, "x") for params in proposed]))

    assert middle_x(0.0) < 0.4
    assert middle_x(0.5) > 0.5


@pytest.mark.parametrize("outcome", [Outcome.INFEASIBLE, Outcome.COMPLETE])
def test_it_proposes_if_all_values_are_equal(outcome: Outcome) -> None:
    history = History(SPACE, signs=(1.0, -1.0))
    for params in configurations_in(RandomSampler(SPACE, seed=0).propose(0, 10, history=history)):
        end(history, params, 0.5, 0.5, outcome=outcome)
    assert len(configurations_in(GpSampler(SPACE, seed=0).propose(10, 3, history=history))) == 3


def test_trials_that_violate_a_bound_have_values_and_diverged_ones_have_not() -> None:
    history = History(SPACE, signs=(1.0, -1.0))
    params = configurations_in(RandomSampler(SPACE, seed=0).propose(0, 5, history=history))
    end(history, params[0], 1.0, 2.0)
    end(history, params[1], 3.0, 4.0, outcome=Outcome.INFEASIBLE)
    end(history, params[2], outcome=Outcome.INFEASIBLE)
    end(history, params[3], outcome=Outcome.UNKNOWN)
    history.fold([Change(4, Outcome.PENDING, params=params[4])])
    known = collect_front_observations(history)
    assert known.values.tolist() == [[1.0, -2.0], [3.0, -4.0]]
    assert known.is_feasible.tolist() == [True, False]
    assert (len(known.infeasible), len(known.pending)) == (2, 1)


def test_a_space_of_everything_has_a_front_too() -> None:
    space: Space = space_of(
        {
            "lr": {"log": [1e-5, 1.0]},
            "depth": {"int": [1, 8]},
            "kind": ["a", "b", "c"],
            "rate": {"float": [0, 1], "when": "kind == 'a'"},
        },
        "depth * lr < 4",
    )

    def cost(params: Configuration) -> tuple[float, float]:
        return abs(math.log10(number(params, "lr")) + 2) + (params["kind"] != "a"), number(params, "depth")

    sampler = GpSampler(space, seed=1)
    history = search(sampler, cost, N_STARTUP + 3)
    batch = sampler.propose(history.n, 4, history=history)
    assert list(batch[:2]) == list(sampler.propose(history.n, 2, history=history))
    assert all(space.allows(params) for params in configurations_in(batch))
