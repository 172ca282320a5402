"""The Gaussian process, against scikit-learn's, finite differences and exact results."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern
from tests.unit.master.search.search_runs import space_of

from tunefleet.study.space import Configuration
from tunefleet_master.search.axes import Axes, Points
from tunefleet_master.search.gaussian_process.fit import (
    MEAN_VARIANCE,
    NOISE_MEAN,
    LogPosterior,
    posterior_mode,
    sample_posterior,
)
from tunefleet_master.search.gaussian_process.kernel import Array, Features, matern, squared_distances
from tunefleet_master.search.gaussian_process.process import SAMPLE_NOISE, GaussianProcess

MIXED: dict[str, Any] = {
    "lr": {"log": [1e-6, 1e-1]},
    "x": {"float": [0, 1]},
    "layers": {"int": [1, 3]},
    "optimizer": ["sgd", "adam", "lion"],
    "momentum": {"float": [0.0, 0.99], "when": "optimizer == 'sgd'"},
    "restart": {"choice": ["warm", "cold"], "when": "layers > 1"},
    "flag": {"fixed": 1, "when": "optimizer == 'lion'"},
    "epochs": {"fixed": 3},
}
AXES = Axes(space_of(MIXED))
FEATURES = Features(AXES)


def drawn_points(n: int, *, seed: int = 0, axes: Axes = AXES) -> Points:
    return axes.canonical(np.random.default_rng(seed).random((n, axes.d)))


def drawn_theta(m: int, *, seed: int = 0) -> Array:
    """Logarithms of lengthscales about 1, and of a noise about 0.05."""
    theta = np.random.default_rng(seed).normal(0.0, 0.5, (m, FEATURES.n_groups + 1))
    theta[:, -1] -= 3.0
    return theta


def apart(a: Configuration, b: Configuration, *, axes: Axes) -> list[float]:
    """The squared distance between two configurations in the columns of each lengthscale."""
    features = Features(axes)
    difference = np.subtract(*features(axes.points([a, b])))
    return [
        float(difference[features.groups == g] @ difference[features.groups == g]) for g in range(features.n_groups)
    ]


def values_at(points: Points, *, seed: int = 0) -> Array:
    filled = np.nan_to_num(points, nan=0.5)
    noise = np.random.default_rng(seed).standard_normal(len(points))
    return np.asarray(np.sin(4 * filled).sum(axis=1) + 0.1 * noise)


def peer(points: Points, values: Array, *, theta: Array, noise: float | Array) -> GaussianProcessRegressor:
    """Scikit-learn's, on the same columns with the same hyperparameters."""
    lengths = np.exp(theta[:-1])[FEATURES.groups]
    kernel = Matern(lengths, "fixed", nu=2.5) + ConstantKernel(MEAN_VARIANCE, "fixed")
    return GaussianProcessRegressor(kernel, alpha=noise, optimizer=None).fit(FEATURES(points), values)


def test_two_values_of_a_choice_are_equally_far_apart_whichever_they_are() -> None:
    axes = Axes(space_of({"c": ["red", "green", "blue"], "d": ["one", "two"]}))
    pairs = [("red", "green"), ("red", "blue"), ("green", "blue")]
    assert [apart({"c": a, "d": "one"}, {"c": b, "d": "one"}, axes=axes) for a, b in pairs] == [
        pytest.approx([1.0, 0.0])
    ] * 3


def test_points_that_both_lack_an_axis_do_not_differ_on_it() -> None:
    there = drawn_points(200)
    columns = FEATURES(there)
    lacking = np.isnan(there[:, AXES.space.names.index("momentum")])
    of_momentum = FEATURES.groups == FEATURES.axis_groups[AXES.space.names.index("momentum")]
    assert lacking.any()
    assert np.ptp(columns[lacking][:, of_momentum]) == 0
    assert np.ptp(columns[~lacking][:, of_momentum]) > 0.5


def test_points_with_and_without_an_axis_differ_by_a_separate_lengthscale() -> None:
    axes = Axes(space_of({"c": ["a", "b"], "y": {"float": [0, 1], "when": "c == 'a'"}}))
    assert apart({"c": "a", "y": 0.5}, {"c": "b"}, axes=axes) == pytest.approx([1.0, 0.0, 1.0])
    assert apart({"c": "a", "y": 0.5}, {"c": "a", "y": 0.75}, axes=axes) == pytest.approx([0.0, 0.0625, 0.0])


def test_all_coordinates_of_an_integer_are_one_point() -> None:
    axes = Axes(space_of({"k": {"int": [1, 4]}}))
    columns = Features(axes)(axes.canonical(np.array([[0.01], [0.24], [0.26]])))
    assert columns[0] == columns[1] != columns[2]


def test_every_covariance_is_positive_definite() -> None:
    columns = FEATURES(drawn_points(150))
    for seed in range(5):
        scaled = columns * np.random.default_rng(seed).lognormal(0, 1.5, FEATURES.n_groups)[FEATURES.groups]
        assert np.linalg.eigvalsh(matern(squared_distances(scaled, scaled))[0]).min() > -1e-9


def test_the_slope_is_the_derivative_of_the_kernel() -> None:
    at = np.array([0.01, 0.3, 1.0, 7.0, 40.0])
    step = 1e-6
    numeric = (matern(at + step)[0] - matern(at - step)[0]) / (2 * step)
    np.testing.assert_allclose(matern(at)[1], numeric, rtol=1e-6)


def test_mean_and_covariance_are_those_of_an_independent_implementation() -> None:
    points, asked = drawn_points(40), drawn_points(25, seed=1)
    values, theta = values_at(points), drawn_theta(3)
    process = GaussianProcess(points, values, features=FEATURES, theta=theta)
    mean, variance = process.posterior(asked)
    covariance = process.covariance(asked)
    for m in range(3):
        other = peer(points, values, theta=theta[m], noise=math.exp(theta[m, -1]))
        their_mean, their_covariance = other.predict(FEATURES(asked), return_cov=True)
        np.testing.assert_allclose(mean[m], their_mean, atol=1e-9)
        np.testing.assert_allclose(covariance[m], their_covariance, atol=1e-9)
        np.testing.assert_allclose(variance[m], np.diag(their_covariance), atol=1e-9)


def test_the_likelihood_is_that_of_an_independent_implementation() -> None:
    points = drawn_points(40)
    values = values_at(points)
    ours = LogPosterior(FEATURES(points), values, groups=FEATURES.groups, n_groups=FEATURES.n_groups)
    for theta in drawn_theta(3):
        other = peer(points, values, theta=theta, noise=math.exp(theta[-1]))
        constant = -0.5 * len(values) * math.log(2 * math.pi)
        assert ours.likelihood(theta)[0] + constant == pytest.approx(other.log_marginal_likelihood_value_, abs=1e-8)


def test_the_gradient_by_hyperparameters_is_right() -> None:
    points = drawn_points(30)
    ours = LogPosterior(FEATURES(points), values_at(points), groups=FEATURES.groups, n_groups=FEATURES.n_groups)
    for theta in drawn_theta(3, seed=2):

        def height(at: Array) -> float:
            return float(ours(at)[0])

        numeric = approx_fprime(theta, height, 1e-7)
        np.testing.assert_allclose(ours(theta)[1], numeric, rtol=1e-4, atol=1e-4)


def test_the_gradients_along_real_axes_are_right() -> None:
    points, asked = drawn_points(30), drawn_points(6, seed=3)
    process = GaussianProcess(points, values_at(points), features=FEATURES, theta=drawn_theta(2))
    found = process.predict(asked, slopes=True)
    for q, point in enumerate(asked):
        for r, axis in enumerate(FEATURES.real_axes):
            if not math.isnan(point[axis]):
                step = np.zeros(AXES.d)
                step[axis] = 1e-6
                above, below = process.predict((point + step)[None]), process.predict((point - step)[None])
                mean_slope = (above.mean - below.mean)[:, 0] / 2e-6
                variance_slope = (above.variance - below.variance)[:, 0] / 2e-6
                np.testing.assert_allclose(found.mean_slope[:, q, r], mean_slope, rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(found.variance_slope[:, q, r], variance_slope, rtol=1e-5, atol=1e-6)


def test_values_that_are_added_later_count_as_exact_ones_that_were_there_from_the_start() -> None:
    points, more, asked = drawn_points(20), drawn_points(7, seed=1), drawn_points(10, seed=2)
    values, theta = values_at(points), drawn_theta(2)
    process = GaussianProcess(points, values, features=FEATURES, theta=theta)
    added = np.random.default_rng(5).standard_normal((2, 7))
    mean, variance = process.conditioned(more[:3], added[:, :3]).conditioned(more[3:], added[:, 3:]).posterior(asked)
    for m in range(2):
        noise = np.concatenate([np.full(20, math.exp(theta[m, -1])), np.full(7, SAMPLE_NOISE)])
        other = peer(np.vstack([points, more]), np.append(values, added[m]), theta=theta[m], noise=noise)
        their_mean, their_deviation = other.predict(FEATURES(asked), return_std=True)
        np.testing.assert_allclose(mean[m], their_mean, atol=1e-7)
        np.testing.assert_allclose(variance[m], their_deviation**2, atol=1e-7)


def test_samples_have_the_posterior_s_moments() -> None:
    points, asked = drawn_points(8), drawn_points(3, seed=1)
    process = GaussianProcess(points, values_at(points), features=FEATURES, theta=np.repeat(drawn_theta(1), 20_000, 0))
    drawn = process.sample(asked, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(axis=0), process.posterior(asked)[0][0], atol=0.04)
    np.testing.assert_allclose(np.cov(drawn.T), process.covariance(asked)[0], atol=0.04)


def test_the_fit_finds_out_which_axes_matter() -> None:
    axes = Axes(space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}}))
    points = drawn_points(40, axes=axes)
    process = GaussianProcess.fit(points, np.sin(6 * points[:, 0]), axes=axes)
    of_x, of_y = process.lengthscales_of_axes()
    assert of_y > 4 * of_x


def test_the_fit_tells_noise_from_signal() -> None:
    axes = Axes(space_of({"x": {"float": [0, 1]}}))
    points = drawn_points(80, axes=axes)
    noise = 0.3 * np.random.default_rng(1).standard_normal(80)
    process = GaussianProcess.fit(points, np.sin(6 * points[:, 0]) + noise, axes=axes)
    assert math.sqrt(process.noise[0]) == pytest.approx(0.3, rel=0.25)


def test_the_fit_is_a_maximum() -> None:
    points = drawn_points(50)
    posterior = LogPosterior(FEATURES(points), values_at(points), groups=FEATURES.groups, n_groups=FEATURES.n_groups)
    mode = posterior_mode(posterior, FEATURES.n_groups)
    generator = np.random.default_rng(0)
    nearby = [posterior(mode + 0.3 * generator.standard_normal(len(mode)))[0] for _ in range(50)]
    assert max(nearby) < posterior(mode)[0] + 1e-3


def test_sampled_hyperparameters_spread_where_values_have_little_information() -> None:
    axes = Axes(space_of({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}}))
    features = Features(axes)
    points = drawn_points(60, axes=axes)
    posterior = LogPosterior(
        features(points), np.sin(9 * points[:, 0]), groups=features.groups, n_groups=features.n_groups
    )
    drawn = sample_posterior(posterior, posterior_mode(posterior, 2), n=200, generator=np.random.default_rng(0))
    spread_x, spread_y, _ = drawn.std(axis=0)
    assert spread_y > 2 * spread_x


def test_without_free_axes_there_is_only_a_mean() -> None:
    axes = Axes(space_of({"f": {"fixed": 1}}))
    process = GaussianProcess.fit(np.array([[0.5]] * 3), np.array([1.0, 2.0, 3.0]), axes=axes)
    mean, _ = process.posterior(np.array([[0.5]]))
    assert mean[0, 0] == pytest.approx(2.0, abs=0.1)
    assert process.noise[0] > math.exp(NOISE_MEAN)
