"""Non-dominated sorting and hypervolume, against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from tunefleet_master.search.pareto import crowding_distances, front, hypervolume_2d, non_dominated_ranks


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def ranks_by_definition(values: np.ndarray) -> list[int]:
    ranks: dict[int, int] = {}
    left = set(range(len(values)))
    while left:
        found = {i for i in left if not any(dominates(values[k], values[i]) for k in left)}
        ranks |= dict.fromkeys(found, max(ranks.values(), default=-1) + 1)
        left -= found
    return [ranks[i] for i in range(len(values))]


@pytest.fixture(params=[(1, 20, 8), (2, 60, 6), (2, 60, 1_000), (3, 50, 5), (4, 40, 1_000)])
def values(request: pytest.FixtureRequest) -> np.ndarray:
    m, n, n_levels = request.param  # few levels: many equal rows and many ties
    return np.random.default_rng(n_levels).integers(0, n_levels, (n, m)).astype(float)


def test_the_front_is_not_dominated(values: np.ndarray) -> None:
    assert front(values).tolist() == [not any(dominates(b, a) for b in values) for a in values]


def test_ranks_peel_one_front_after_the_other(values: np.ndarray) -> None:
    assert non_dominated_ranks(values).tolist() == ranks_by_definition(values)


def test_sorting_ends_where_enough_are_ranked(values: np.ndarray) -> None:
    every = non_dominated_ranks(values)
    some = non_dominated_ranks(values, enough=10)
    last = every[np.argsort(every)][9]
    assert some[every <= last].tolist() == every[every <= last].tolist()
    assert set(some[every > last]) <= {last + 1}


def test_no_points_have_no_front() -> None:
    nothing = np.empty((0, 2))
    assert front(nothing).tolist() == non_dominated_ranks(nothing).tolist() == []
    assert crowding_distances(nothing).tolist() == []
    assert hypervolume_2d(nothing, (1.0, 1.0)) == 0


def test_crowding_is_the_sum_of_the_neighbours_distances_as_shares_of_the_range() -> None:
    values = np.array([[0.0, 10.0], [1.0, 6.0], [3.0, 5.0], [4.0, 0.0]])
    assert crowding_distances(values) == pytest.approx([np.inf, 3 / 4 + 5 / 10, 3 / 4 + 6 / 10, np.inf])


def test_a_constant_objective_does_not_crowd() -> None:
    values = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    assert crowding_distances(values)[1:3] == pytest.approx([2 / 4, 3 / 4])


def test_not_all_equal_points_count_as_ends() -> None:
    assert np.isinf(crowding_distances(np.zeros((9, 2)))).sum() <= 2


def test_the_hypervolume_is_the_dominated_area() -> None:
    points = np.random.default_rng(3).integers(0, 12, (30, 2)).astype(float)
    reference = (10, 9)
    boxes = [any((point <= (x, y)).all() for point in points) for x in range(reference[0]) for y in range(reference[1])]
    assert hypervolume_2d(points, reference) == sum(boxes) > 0


def test_points_beyond_the_reference_gain_nothing() -> None:
    assert hypervolume_2d(np.array([[2.0, 0.0], [0.0, 3.0]]), (2.0, 3.0)) == 0
    assert hypervolume_2d(np.array([[2.0, 0.0], [1.0, 1.0]]), (2.0, 3.0)) == 2
