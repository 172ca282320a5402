"""The forest as a model, and the search on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import mannwhitneyu

from tunefleet.study.space import Configuration, Space
from tunefleet.study.spec import StudySpec
from tunefleet_master.search import forest
from tunefleet_master.search.axes import Axes
from tunefleet_master.search.forest import (
    Forest,
    ForestSampler,
    Neighbourhood,
    TrainingData,
    log_expected_improvement,
)
from tunefleet_master.search.history import Change, History, Outcome
from tunefleet_master.search.initial_design import sobol_point
from tunefleet_master.search.random import RandomSampler
from tunefleet_master.search.sampler import Sampler
from tunefleet_master.search.trees import ChoiceOrder, Tree

CONDITIONAL: dict[str, Any] = {
    "lr": {"log": [1e-5, 1.0]},
    "optimizer": ["sgd", "adam", "lion"],
    "momentum": {"float": [0.0, 1.0], "when": "optimizer == 'sgd'"},
    "layers": {"int": [1, 6]},
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


def loss(configuration: Configuration) -> float:
    """A loss that is lowest with adam; sgd is close at the right momentum."""
    found: Any = configuration
    off = {"sgd": 0.1 + 2 * abs(found.get("momentum", 0) - 0.9), "adam": 0.0, "lion": 0.8}[found["optimizer"]]
    return float(off + (math.log10(found["lr"]) + 3) ** 2 / 4 + 0.2 * abs(found["layers"] - 4))


def random_history(space: Space, n: int, *, seed: int = 0) -> History:
    """A history of n random trials of `loss`."""
    history = History(space)
    drawn = [c for c in RandomSampler(space, seed=seed).propose(0, n, history=history) if c is not None]
    history.fold(Change(i, Outcome.COMPLETE, params=params, values=(loss(params),)) for i, params in enumerate(drawn))
    return history


def search(sampler: Sampler, n: int) -> float:
    """Return the best loss after n sequential trials."""
    history = History(sampler.space)
    best = math.inf
    for i in range(n):
        (params,) = sampler.propose(i, 1, history=history)
        assert params is not None
        best = min(best, loss(params))
        history.fold([Change(i, Outcome.COMPLETE, params=params, values=(loss(params),))])
    return best


def modelled(sampler: ForestSampler, n: int) -> list[int]:
    """Return the first n positions at which the forest proposes."""
    every = range(100, 200)
    return [at for at in every if sampler.generator(at).random() >= forest.RANDOM_SHARE][:n]


def test_the_forest_beats_random_search_on_a_conditional_space() -> None:
    space = space_of(CONDITIONAL)
    ours = [search(ForestSampler(space, seed=seed), 22) for seed in range(20)]
    theirs = [search(RandomSampler(space, seed=seed), 22) for seed in range(20)]
    assert mannwhitneyu(ours, theirs, alternative="less").pvalue < 0.05


def test_proposals_are_configurations_that_the_constraints_allow_and_that_are_new() -> None:
    space = space_of(CONDITIONAL, "layers * lr <= 0.1")
    history = random_history(space, 30)
    proposals = ForestSampler(space, seed=1).propose(30, 12, history=history)
    keys = {str(space.check(params or {})) for params in proposals}
    assert len(keys) == 12
    assert not history.knows(Axes(space).points([params or {} for params in proposals])).any()


def test_a_batch_equals_single_proposals_in_sequence() -> None:
    space = space_of(CONDITIONAL)
    history = random_history(space, 20)
    sampler = ForestSampler(space, seed=2)
    at_once = list(sampler.propose(20, 4, history=history))
    one_by_one: list[Configuration | None] = []
    for i in range(20, 24):
        one_by_one += sampler.propose(i, 1, history=history)
        history.fold([Change(i, Outcome.PENDING, params=one_by_one[-1])])
    assert at_once == one_by_one


def test_a_running_trial_moves_the_next_proposal_away() -> None:
    space = space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})
    history = History(space)
    grid = [(x, y) for x in np.linspace(0.05, 0.95, 5) for y in np.linspace(0.05, 0.95, 5)]
    for i, (x, y) in enumerate(grid):
        params: Configuration = {"x": float(x), "y": float(y)}
        history.fold([Change(i, Outcome.COMPLETE, params=params, values=((x - 0.3) ** 2 + (y - 0.6) ** 2,))])
    sampler = ForestSampler(space, seed=0)
    apart = []
    for at in modelled(sampler, 6):
        (first,) = sampler.propose(at, 1, history=history)
        again = History(space)
        again.fold(
            Change(i, Outcome.COMPLETE, params={"x": float(x), "y": float(y)}, values=(history.values[i, 0],))
            for i, (x, y) in enumerate(grid)
        )
        again.fold([Change(25, Outcome.PENDING, params=first)])
        (second,) = sampler.propose(at, 1, history=again)
        apart.append(float(np.linalg.norm(Axes(space).point(first or {}) - Axes(space).point(second or {}))))
    assert min(apart) > 0.01


def test_few_proposals_lie_in_infeasible_regions() -> None:
    space = space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})
    history = History(space)
    for i, point in enumerate(np.random.default_rng(0).random((30, 2))):
        params: Configuration = {"x": float(point[0]), "y": float(point[1])}
        # The objective falls towards the region that fails.
        fails = point[0] > 0.6
        values = () if fails else (1 - point[0],)
        history.fold([Change(i, Outcome.INFEASIBLE if fails else Outcome.COMPLETE, params=params, values=values)])
    sampler = ForestSampler(space, seed=0)
    found: list[Any] = [sampler.propose(at, 1, history=history)[0] for at in modelled(sampler, 10)]
    assert sum(params["x"] > 0.65 for params in found) <= 2
    assert sum(params["x"] > 0.4 for params in found) >= 6


def test_one_proposal_in_five_is_space_filling() -> None:
    space = space_of(CONDITIONAL)
    history = random_history(space, 12)
    sampler = ForestSampler(space, seed=3)
    axes = Axes(space)
    covers = [axes.configuration(sobol_point(axes.d, at, seed=3)) for at in range(12, 36)]
    n_covering = sum(a == b for a, b in zip(covers, sampler.propose(12, 24, history=history), strict=True))
    assert 1 <= n_covering <= 10  # of 24, with probability .99


def test_the_mean_is_that_of_the_trees_and_the_variance_that_within_and_between_them() -> None:
    generator = np.random.default_rng(0)
    axes = Axes(space_of({"x": {"float": [0, 1]}}))
    points = generator.random((200, 1))
    noisy = np.where(points[:, 0] < 0.5, 0.0, generator.choice([-1.0, 1.0], size=200))
    order = np.argsort(noisy)
    model = Forest(
        axes, TrainingData(np.repeat(points[order], 5, axis=0), np.repeat(noisy[order], 5)), generator=generator
    )
    mean, variance = model.predict(np.array([[0.2], [0.8]]))
    assert mean[0] == pytest.approx(0)
    assert variance[0] == pytest.approx(forest.MIN_VARIANCE)
    # The same x with both outcomes in a leaf: grown on one point only, the variance within it is all there is.
    single = Forest(axes, TrainingData(np.full((400, 1), 0.3), np.repeat([-1.0, 1.0], 200)), generator=generator)
    mean, variance = single.predict(np.array([[0.3]]))
    assert mean[0] == pytest.approx(0, abs=0.1)
    assert variance[0] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("z", [3.0, 0.0, -1.0, -4.9, -5.1, -12.0, -40.0])
def test_the_logarithm_of_the_expected_improvement_is_that_of_the_integral(z: float) -> None:
    # E[max(z - e, 0)] for e ~ N(0, 1) is phi(z) times the integral of u exp(-u^2 / 2 + z u) over u > 0.
    integral, _ = quad(lambda u: u * math.exp(-0.5 * u * u + z * u), 0, np.inf)
    expected = math.log(integral) - 0.5 * z * z - 0.5 * math.log(2 * math.pi)
    mean, variance = np.array([1.0 - 0.5 * z]), np.array([0.25])
    found = log_expected_improvement(mean, variance, best=1.0)
    assert found[0] == pytest.approx(expected + math.log(0.5), abs=0.03)


def test_neighbours_differ_in_one_coordinate_and_a_choice_takes_all_its_other_values() -> None:
    axes = Axes(space_of({"x": {"float": [0, 1]}, "c": list("abcd"), "n": {"int": [1, 9]}, "f": {"fixed": 1}}))
    point = axes.canonical(np.array([[0.02, 0.4, 0.7, 0.5]]))
    neighbours = Neighbourhood(axes).neighbours(point, np.random.default_rng(0))[0]
    differs = neighbours != point
    assert (differs.sum(axis=1) == 1).all()
    assert not differs[:, 3].any()
    assert ((neighbours >= 0) & (neighbours <= 1)).all()
    turned = axes.rounded(neighbours)[differs[:, 1], 1]
    assert sorted(turned) == pytest.approx([0.125, 0.625, 0.875])


def test_a_choice_of_hundreds_and_hundreds_of_parameters_keep_the_search_bounded() -> None:
    many = Axes(space_of({"c": list(range(500))}))
    assert Neighbourhood(many).size == forest.MAX_OFFSETS
    wide = ForestSampler(space_of({f"x{i}": {"float": [0, 1]} for i in range(200)}), seed=0)
    assert 2 * wide._n_starts * wide._neighbourhood.size <= 2 * forest.MAX_AROUND


def test_of_many_trials_the_best_are_selected_and_the_others_thinned() -> None:
    selected = forest._select(10_000)
    assert len(selected) == len(set(selected)) == forest.MAX_TRAINING
    assert selected[:500].tolist() == list(range(500))
    assert selected[-1] == 9_999
    assert forest._select(7).tolist() == list(range(7))


def test_choices_are_ordered_by_their_means_with_unseen_ones_in_the_middle() -> None:
    axes = Axes(space_of({"c": list("abcd"), "x": {"float": [0, 1]}}))
    points = np.array([[0.125, 0.1], [0.125, 0.2], [0.375, 0.3], [0.375, 0.4], [0.625, 0.5], [np.nan, 0.6]])
    order = ChoiceOrder.of(axes, points, scores=np.array([9.0, 9.0, -9.0, -9.0, 4.0, 0.0]))
    # b is best, then d, which was never tried, then c and a.
    assert order.places[0].tolist() == [0.875, 0.125, 0.625, 0.375]
    encoded = order.encode(points)
    assert encoded[:, 0].tolist()[:5] == [0.875, 0.875, 0.125, 0.125, 0.625]
    assert math.isnan(encoded[5, 0])
    assert (encoded[:, 1] == points[:, 1]).all()


def test_the_boxes_of_a_tree_fill_the_cube_and_agree_with_its_predictions() -> None:
    generator = np.random.default_rng(0)
    inputs = generator.random((60, 3)).astype(np.float32)
    tree = Tree(inputs, generator.random(60), cuts="best", min_leaf=2, feature_share=1.0, generator=generator)
    boxes = tree.boxes()
    assert np.prod(boxes.high - boxes.low, axis=1).sum() == pytest.approx(1)
    asked = generator.random((50, 3)).astype(np.float32)
    means, _ = tree.predict(asked)
    inside = ((asked[:, None] > boxes.low) & (asked[:, None] <= boxes.high)).all(axis=2)
    assert (inside.sum(axis=1) == 1).all()
    assert (inside @ boxes.means) == pytest.approx(means)
