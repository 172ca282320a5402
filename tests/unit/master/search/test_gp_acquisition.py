"""Expected improvement, against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mpmath import mp
from scipy.stats import norm
from tests.unit.master.search.search_runs import space_of

from tunefleet_master.search.axes import Axes, Points
from tunefleet_master.search.gaussian_process.acquisition import LogExpectedImprovement, log_improvement
from tunefleet_master.search.gaussian_process.process import GaussianProcess

AXES = Axes(space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}, "c": ["a", "b"]}))


def drawn_points(n: int, *, seed: int = 0) -> Points:
    return AXES.canonical(np.random.default_rng(seed).random((n, AXES.d)))


def fitted(points: Points, *, members: int = 4) -> GaussianProcess:
    values = np.sin(5 * points[:, 0]) + points[:, 1] ** 2 + points[:, 2]
    return GaussianProcess.fit(
        points, values - values.mean(), axes=AXES, members=members, generator=np.random.default_rng(0)
    )


def incumbents(process: GaussianProcess, points: Points) -> np.ndarray:
    return np.asarray(process.posterior(points)[0].min(axis=1))


@pytest.mark.parametrize("z", [40.0, 3.0, 0.0, -0.999, -1.001, -5.0, -30.0, -500.0, -2e3, -1e5])
def test_the_logarithm_of_an_improvement_is_exact_far_out(z: float) -> None:
    with mp.workdps(60 + int(math.log10(1 + abs(z))) * 10):
        exact = mp.log(mp.npdf(z) + z * mp.erfc(-mp.mpf(z) / mp.sqrt(2)) / 2)
        slope = mp.erfc(-mp.mpf(z) / mp.sqrt(2)) / 2 / mp.exp(exact)
    value, rise = log_improvement(np.array([z]))
    assert value[0] == pytest.approx(float(exact), rel=1e-9)
    assert rise[0] == pytest.approx(float(slope), rel=1e-6)


def test_the_logarithm_is_finite_where_nothing_can_be_gained() -> None:
    value, rise = log_improvement(np.array([-1e9, -1e300]))
    assert np.isfinite(value).all()
    assert np.isfinite(rise).all()


def test_expected_improvement_is_the_mean_improvement_of_many_draws() -> None:
    points, asked = drawn_points(20), drawn_points(5, seed=1)
    process = fitted(points)
    best = incumbents(process, points) + 0.5
    mean, variance = process.posterior(asked)
    uniform = (np.arange(20_000) + 0.5) / 20_000
    values = mean[:, :, None] + np.sqrt(variance)[:, :, None] * norm.ppf(uniform)
    expected = np.maximum(best[:, None, None] - values, 0).mean(axis=(0, 2))
    acquisition = LogExpectedImprovement(process, best, feasibility=None)
    np.testing.assert_allclose(np.exp(acquisition(asked)), expected, rtol=2e-3, atol=1e-6)


def test_its_gradient_is_right_with_pending_trials_and_infeasible_ones() -> None:
    points, asked = drawn_points(20), drawn_points(5, seed=1)
    labels = np.where(points[:, 0] > 0.6, -1.0, 1.0)
    process = fitted(points)
    acquisition = LogExpectedImprovement(
        process, incumbents(process, points), feasibility=GaussianProcess.fit(points, labels, axes=AXES)
    ).with_pending(drawn_points(3, seed=2), np.random.default_rng(0))
    value, gradient = acquisition.with_gradient(asked)
    np.testing.assert_allclose(value, acquisition(asked), rtol=1e-9)
    for r, axis in enumerate(process.features.real_axes):
        step = np.zeros(AXES.d)
        step[axis] = 1e-6
        numeric = (acquisition(asked + step) - acquisition(asked - step)) / 2e-6
        np.testing.assert_allclose(gradient[:, r], numeric, rtol=1e-4, atol=1e-4)


def test_the_expected_improvement_falls_near_a_running_trial() -> None:
    points = drawn_points(20)
    process = fitted(points, members=8)
    acquisition = LogExpectedImprovement(process, incumbents(process, points), feasibility=None)
    asked = drawn_points(500, seed=1)
    best = asked[[np.argmax(acquisition(asked))]]
    beside = AXES.canonical(best + np.array([0.01, 0.01, 0.0]))
    after = acquisition.with_pending(best, np.random.default_rng(0))
    assert after(beside)[0] < acquisition(beside)[0] - 1.0
    assert after(best)[0] < acquisition(best)[0] - 5.0


def test_draws_of_running_trials_average_to_the_process_without_them() -> None:
    points, asked = drawn_points(12), drawn_points(4, seed=1)
    one = fitted(points, members=1)
    theta = np.log(np.column_stack([one.lengthscales, one.noise]))
    values = np.sin(5 * points[:, 0]) + points[:, 1] ** 2 + points[:, 2]
    many = GaussianProcess(points, values - values.mean(), features=one.features, theta=np.repeat(theta, 4_000, axis=0))
    running = drawn_points(3, seed=2)
    after = many.conditioned(running, many.sample(running, np.random.default_rng(0)))
    np.testing.assert_allclose(after.posterior(asked)[0].mean(axis=0), one.posterior(asked)[0][0], atol=0.02)


def test_the_expected_improvement_vanishes_where_training_is_impossible() -> None:
    points = drawn_points(60)
    process = fitted(points)
    labels = np.where(points[:, 0] > 0.5, -1.0, 1.0)
    best = incumbents(process, points)
    plain = LogExpectedImprovement(process, best, feasibility=None)
    wary = LogExpectedImprovement(process, best, feasibility=GaussianProcess.fit(points, labels, axes=AXES))
    asked = np.array([[0.9, 0.3, 0.25], [0.1, 0.3, 0.25]])
    impossible, possible = plain(asked) - wary(asked)
    assert impossible > math.log(50)
    assert possible < math.log(1.1)
