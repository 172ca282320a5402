"""Functional ANOVA on a forest: its integrals, and functions with known shares."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from tests.unit.master.diagnosis.study_views import random_study_view, spec_of

from tunefleet_master.diagnosis.importance import Importance, _Decomposition, importance
from tunefleet_master.search.history import Values
from tunefleet_master.search.trees import LeafBoxes, Tree

UNIT = np.sqrt(12.0)  # makes the variance of a uniform number 1


def shares(found: Importance | None) -> dict[str, float]:
    assert found is not None
    return {effect.parameter: effect.share for effect in found.effects}


def on_grid(tree: Tree, n: int = 16) -> Values:
    """Return the predictions of a tree on three axes at the centres of n^3 cells."""
    middles = (np.arange(n) + 0.5) / n
    grid = np.stack(np.meshgrid(middles, middles, middles, indexing="ij"), axis=-1).reshape(-1, 3)
    return tree.predict(grid.astype(np.float32))[0].reshape(n, n, n)


@pytest.fixture
def tree() -> Tree:
    """A tree with all cuts between the cells of a grid of 16, since its inputs lie on a grid of 8."""
    generator = np.random.default_rng(1)
    inputs = ((generator.integers(8, size=(80, 3)) + 0.5) / 8).astype(np.float32)
    scores = inputs[:, 0] + 2 * inputs[:, 1] * inputs[:, 2] + 0.1 * generator.random(80)
    return Tree(inputs, scores, cuts="best", min_leaf=2, feature_share=1.0, generator=generator)


def test_the_shares_of_a_tree_are_those_that_summing_over_a_fine_grid_gives(tree: Tree) -> None:
    exact = _Decomposition(tree.boxes())
    predictions = on_grid(tree)
    main = [predictions.mean(axis=tuple(set(range(3)) - {j})) for j in range(3)]
    for j in range(3):
        assert exact.share(j) == pytest.approx(main[j].var() / predictions.var())
        fixed = predictions.mean(axis=j, keepdims=True)
        assert exact.totals()[j] == pytest.approx(((predictions - fixed) ** 2).mean() / predictions.var())
    for i, j in itertools.combinations(range(3), 2):
        (other,) = set(range(3)) - {i, j}
        pair = predictions.mean(axis=other) - main[i][:, None] - main[j][None, :]
        assert exact.share(i, j) == pytest.approx(pair.var() / predictions.var())


def test_all_shares_of_a_tree_on_two_axes_are_one_together() -> None:
    generator = np.random.default_rng(0)
    inputs = generator.random((50, 2)).astype(np.float32)
    tree = Tree(inputs, generator.random(50), cuts="best", min_leaf=1, feature_share=1.0, generator=generator)
    exact = _Decomposition(tree.boxes())
    assert exact.share(0) + exact.share(1) + exact.share(0, 1) == pytest.approx(1)
    assert exact.totals()[0] == pytest.approx(1 - exact.share(1))


def test_a_tree_that_is_the_same_everywhere_has_no_shares() -> None:
    exact = _Decomposition(LeafBoxes(np.zeros((1, 2)), np.ones((1, 2)), np.array([3.0])))
    assert (exact.share(0), exact.share(0, 1), exact.totals().tolist()) == (0.0, 0.0, [0.0, 0.0])


def test_an_additive_function_has_the_shares_that_it_was_made_with() -> None:
    spec = spec_of({"a": {"float": [0, 1]}, "b": {"log": [1e-4, 1]}, "c": {"int": [1, 100]}, "idle": {"float": [0, 1]}})

    def loss(params: dict[str, Any]) -> float:
        b, c = 1 + np.log10(params["b"]) / 4, params["c"] / 100
        return float(UNIT * (np.sqrt(0.6) * params["a"] + np.sqrt(0.3) * b + np.sqrt(0.1) * c))

    found = importance(random_study_view(spec, loss, 300).history)
    known = shares(found)
    assert list(known) == ["a", "b", "c", "idle"]
    assert known["a"] == pytest.approx(0.6, abs=0.07)
    assert known["b"] == pytest.approx(0.3, abs=0.07)
    assert known["c"] == pytest.approx(0.1, abs=0.07)
    assert found is not None
    assert found.effects[3].total < 0.02
    assert found.rest < 0.1


def test_what_two_parameters_do_only_together_is_their_pair() -> None:
    spec = spec_of({"a": {"float": [0, 1]}, "b": ["x", "y"], "c": {"float": [0, 1]}})
    found = importance(
        random_study_view(spec, lambda p: 0.2 * p["c"] + (p["a"] - 0.5) * (1 if p["b"] == "x" else -1), 300).history
    )
    assert found is not None
    assert found.pairs[0].parameters in (("a", "b"), ("b", "a"))
    assert found.pairs[0].share > 0.4
    totals = {effect.parameter: effect.total for effect in found.effects}
    assert shares(found)["b"] < 0.1
    assert totals["b"] > 0.5


def test_a_conditional_parameter_has_its_share_among_all_configurations() -> None:
    spec = spec_of(
        {"kind": ["p", "q", "r", "s"], "depth": {"float": [0, 1], "when": "kind == 'p'"}, "z": {"float": [0, 1]}}
    )

    # With kind p the loss is that of depth, which has the same mean as the constant of the other kinds.
    def loss(params: dict[str, Any]) -> float:
        return float(params["z"] + (2 * UNIT / 12 * (params["depth"] - 0.5) * UNIT if params["kind"] == "p" else 0.0))

    found = importance(random_study_view(spec, loss, 400).history)
    # Var z = 1/12; depth adds a variance of 4/12 in a quarter of all configurations: 1/12, of which the mean over
    # kinds has a quarter, and the pair of kind and depth the rest.
    known = shares(found)
    assert known["z"] == pytest.approx(1 / 2, abs=0.1)
    assert known["depth"] == pytest.approx(1 / 8, abs=0.06)
    assert known["kind"] < 0.06
    assert found is not None
    assert {effect.parameter: effect.total for effect in found.effects}["depth"] == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(("d", "needed"), [(1, 40), (5, 40), (6, 48)])
def test_too_few_trials_have_no_importance(d: int, needed: int) -> None:
    spec = spec_of({**{f"x{i}": {"float": [0, 1]} for i in range(d)}, "still": {"fixed": 1}})
    assert importance(random_study_view(spec, lambda p: p["x0"], needed - 1).history) is None
    assert len(shares(importance(random_study_view(spec, lambda p: p["x0"], needed).history))) == d


def test_a_few_trials_that_nearly_diverged_are_not_all_of_the_variance() -> None:
    spec = spec_of({"a": {"float": [0, 1]}, "b": {"float": [0, 1]}})
    found = importance(random_study_view(spec, lambda p: p["a"] + (1e6 if p["b"] > 0.97 else 0.0), 100).history)
    assert shares(found)["a"] > 0.4


def test_the_same_history_has_the_same_importance() -> None:
    spec = spec_of({"a": {"float": [0, 1]}, "b": list("xyz")})
    one, other = (importance(random_study_view(spec, lambda p: p["a"], 60).history) for _ in range(2))
    assert one == other


def test_equal_results_leave_nothing_to_explain() -> None:
    found = importance(random_study_view(spec_of({"a": {"float": [0, 1]}}), lambda p: 1.0, 50).history)
    assert shares(found) == {"a": 0.0}
