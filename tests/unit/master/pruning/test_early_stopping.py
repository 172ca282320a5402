"""Early stopping finds a better trial than full training with the same work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from tests.unit.master.pruning.pruner_runs import Curve, best_found, pruner_of

STEPS = 27
N_SEEDS = 20
WORK = 40 * STEPS  # of forty full trainings
N_TRIALS = WORK  # more than can be begun

CurveOf = Callable[[int], Curve]


def crossing(seed: int) -> CurveOf:
    """Power laws with different levels and speeds, so that curves cross; the level determines the best trial."""
    rng = np.random.default_rng(seed)
    level, speed = rng.uniform(0, 1, N_TRIALS), rng.uniform(0.3, 1.5, N_TRIALS)
    start = 1 + rng.uniform(0, 1, N_TRIALS)
    fall = np.arange(2, STEPS + 2) ** -speed[:, None]  # the first step tells a little
    curves = level[:, None] + (start - level)[:, None] * fall + 0.01 * rng.standard_normal((N_TRIALS, STEPS))
    return lambda trial: curves[trial].tolist()


def soon_flat(seed: int) -> CurveOf:
    """Curves that reach their level after about four steps, and run three times as long as the others."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0, 1, N_TRIALS)
    fall = np.exp(-2 * np.arange(3 * STEPS))
    curves = level[:, None] + fall + 0.001 * rng.standard_normal((N_TRIALS, 3 * STEPS))
    return lambda trial: curves[trial].tolist()


def found(curves: Callable[[int], CurveOf], name: str | None, **keys: Any) -> list[float]:
    """The best value of each seed, with four workers."""
    steps = len(curves(0)(0))
    return [
        best_found(None if name is None else pruner_of(name, steps=steps, **keys), curves(seed), n_workers=4, work=WORK)
        for seed in range(N_SEEDS)
    ]


@pytest.fixture(scope="module")
def without() -> dict[Callable[[int], CurveOf], list[float]]:
    return {curves: found(curves, None) for curves in (crossing, soon_flat)}


@pytest.mark.parametrize(
    ("curves", "name", "keys"),
    [
        (crossing, "asha", {}),
        (crossing, "asha", {"mode": "promote"}),
        (crossing, "hyperband", {}),
        (crossing, "hyperband", {"mode": "promote"}),
        (crossing, "median", {}),
        (crossing, "percentile", {}),
        # These two say in their docstrings on what it depends.
        (soon_flat, "patience", {"patience": 2, "min_delta": 0.01}),
        (crossing, "threshold", {"upper": 0.5, "min": 5}),
    ],
)
def test_a_pruner_finds_a_better_trial_with_the_same_work(
    curves: Callable[[int], CurveOf],
    name: str,
    keys: dict[str, Any],
    without: dict[Callable[[int], CurveOf], list[float]],
) -> None:
    ours, theirs = found(curves, name, **keys), without[curves]
    assert mannwhitneyu(ours, theirs, alternative="less").pvalue < 0.05
    assert np.mean(ours) < np.mean(theirs)


def test_patience_gains_nothing_on_curves_that_still_improve(
    without: dict[Callable[[int], CurveOf], list[float]],
) -> None:
    ours = found(crossing, "patience", patience=3, min_delta=0.01)
    assert mannwhitneyu(ours, without[crossing], alternative="less").pvalue > 0.05
