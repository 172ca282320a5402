"""Gaussian process regression with several sets of hyperparameters.

Hyperparameters are uncertain. A model therefore consists of members with the same data and different plausible
hyperparameters.

Notation, in addition to that of `kernel`:
    m   members
    r   columns of real axes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunefleet_master.search.axes import Axes, Points
from tunefleet_master.search.gaussian_process.fit import (
    MEAN_VARIANCE,
    LogPosterior,
    posterior_mode,
    sample_posterior,
)
from tunefleet_master.search.gaussian_process.kernel import Array, Features, matern, squared_distances
from tunefleet_master.search.gaussian_process.training_points import spread_over_ranks

SAMPLE_NOISE = 1e-6  # variance of sampled values, which have no noise, for stable factorisations
MIN_VARIANCE = 1e-12  # against rounding at points with a known value


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predictions of a function at q points, by each member.

    Attributes:
        mean: (m, q).
        variance: (m, q) of the function, without observation noise.
        mean_slope: (m, q, r) the mean's gradient along the real columns; empty unless requested.
        variance_slope: (m, q, r) the variance's gradient.
    """

    mean: Array
    variance: Array
    mean_slope: Array
    variance_slope: Array


class GaussianProcess:
    """An immutable Gaussian process, conditioned on values at points of a space.

    Values should be approximately standardised, and points must be canonical.

    Attributes:
        features: of the space.
        lengthscales: (m, g).
        noise: (m,) the variance of an observation.
    """

    def __init__(self, points: Points, values: Array, *, features: Features, theta: Array) -> None:
        """Take values (n,) at points (n, d), and the logarithms (m, g + 1) of lengthscales and noise."""
        self.features = features
        self.lengthscales: Array = np.exp(theta[:, :-1])
        self.noise: Array = np.exp(theta[:, -1])
        self._inverse_lengths = 1.0 / self.lengthscales[:, None, features.groups]
        self._scaled = features(points) * self._inverse_lengths
        covariance = _prior(self._scaled, self._scaled) + self.noise[:, None, None] * np.eye(len(points))
        self._half_inverse = _inverse_factors(covariance)
        self._half_values = (self._half_inverse @ values)[:, :, None]

    @classmethod
    def fit(
        cls,
        points: Points,
        values: Array,
        *,
        axes: Axes,
        members: int = 1,
        max_points: int | None = None,
        generator: np.random.Generator | None = None,
    ) -> GaussianProcess:
        """Fit values (n,) at points (n, d).

        The first member has the most probable hyperparameters; the others have samples of their posterior and need a
        generator. Hyperparameters are fitted to at most `max_points` of the values, spread over their ranks; None: to
        all.
        """
        features = Features(axes)
        fitted = spread_over_ranks(values, max_points=max_points) if max_points else np.arange(len(values))
        posterior = LogPosterior(
            features(points[fitted]), values[fitted], groups=features.groups, n_groups=features.n_groups
        )
        theta = posterior_mode(posterior, features.n_groups)[None]
        if members > 1 and generator is not None:
            theta = np.vstack([theta, sample_posterior(posterior, theta[0], n=members - 1, generator=generator)])
        return cls(points, values, features=features, theta=theta)

    def posterior(self, points: Points) -> tuple[Array, Array]:
        """Return the mean and variance, each (m, q), of the function at points (q, d)."""
        found = self.predict(points)
        return found.mean, found.variance

    def predict(self, points: Points, *, slopes: bool = False) -> Prediction:
        """Return the same, with gradients if `slopes`."""
        scaled = self.features(points) * self._inverse_lengths
        correlation, slope = matern(squared_distances(self._scaled, scaled))
        half = self._half_inverse @ (correlation + MEAN_VARIANCE)
        mean = (half * self._half_values).sum(axis=1)
        variance = np.maximum(1.0 + MEAN_VARIANCE - (half * half).sum(axis=1), MIN_VARIANCE)
        if not slopes:
            nothing = np.empty((*mean.shape, 0))
            return Prediction(mean, variance, nothing, nothing)
        transposed = self._half_inverse.transpose(0, 2, 1)
        along_mean = self._along_reals((transposed @ self._half_values) * slope, scaled)
        along_variance = self._along_reals(-2.0 * (transposed @ half) * slope, scaled)
        return Prediction(mean, variance, along_mean, along_variance)

    def lengthscales_of_axes(self) -> Array:
        """Return the lengthscale (d,) of each axis by the first member; 1 for a fixed axis."""
        return np.append(self.lengthscales[0], 1.0)[self.features.axis_groups]

    def covariance(self, points: Points) -> Array:
        """Return the posterior covariance (m, q, q) of the function at points (q, d)."""
        scaled = self.features(points) * self._inverse_lengths
        half = self._half_inverse @ _prior(self._scaled, scaled)
        return np.asarray(_prior(scaled, scaled) - half.transpose(0, 2, 1) @ half)

    def sample(self, points: Points, generator: np.random.Generator) -> Array:
        """Return a joint sample (m, q) of the function at points (q, d), by each member."""
        covariance = self.covariance(points) + SAMPLE_NOISE * np.eye(len(points))
        drawn = generator.standard_normal((len(covariance), len(points), 1))
        return np.asarray(self.posterior(points)[0] + (np.linalg.cholesky(covariance) @ drawn)[:, :, 0])

    def conditioned(self, points: Points, values: Array) -> GaussianProcess:
        """Return the process conditioned on noiseless values (m, k) at points (k, d), with the same hyperparameters.

        The inverse of the Cholesky factor is extended, which costs n^2 k instead of n^3.
        """
        scaled = self.features(points) * self._inverse_lengths
        half = self._half_inverse @ _prior(self._scaled, scaled)
        corner = _prior(scaled, scaled) + SAMPLE_NOISE * np.eye(len(points)) - half.transpose(0, 2, 1) @ half
        corner_inverse = _inverse_factors(corner)
        below = -corner_inverse @ (half.transpose(0, 2, 1) @ self._half_inverse)
        residual = values[:, :, None] - half.transpose(0, 2, 1) @ self._half_values
        out = object.__new__(GaussianProcess)
        out.features, out.lengthscales, out.noise = self.features, self.lengthscales, self.noise
        out._inverse_lengths = self._inverse_lengths
        out._scaled = np.concatenate([self._scaled, scaled], axis=1)
        out._half_inverse = _stacked(self._half_inverse, below, corner_inverse)
        out._half_values = np.concatenate([self._half_values, corner_inverse @ residual], axis=1)
        return out

    def _along_reals(self, weights: Array, scaled: Array) -> Array:
        """Return the gradient (m, q, r) of a weighted sum of kernels at n points.

        The weights (m, n, q) already contain the kernel's slope.
        """
        reals = self.features.real_columns
        pull = weights.transpose(0, 2, 1) @ self._scaled[:, :, reals]
        pulled = scaled[:, :, reals] * weights.sum(axis=1)[:, :, None] - pull
        return np.asarray(2.0 * pulled * self._inverse_lengths[:, :, reals])


def _prior(a: Array, b: Array) -> Array:
    """Return the prior covariance (m, n, q) between scaled columns (m, n, c) and (m, q, c)."""
    return matern(squared_distances(a, b))[0] + MEAN_VARIANCE


def _inverse_factors(covariance: Array) -> Array:
    """Return the inverses of the Cholesky factors of matrices (m, n, n)."""
    from scipy.linalg import lapack

    return np.array([lapack.dtrtri(factor, lower=1)[0] for factor in np.linalg.cholesky(covariance)])


def _stacked(upper_left: Array, lower_left: Array, lower_right: Array) -> Array:
    """Return lower triangular matrices, assembled from blocks."""
    n = upper_left.shape[1]
    k = lower_right.shape[1]
    out = np.zeros((len(upper_left), n + k, n + k))
    out[:, :n, :n], out[:, n:, :n], out[:, n:, n:] = upper_left, lower_left, lower_right
    return out
