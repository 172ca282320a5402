"""Hyperparameters of a Gaussian process: the most probable ones, and samples of their posterior.

The prior is that of Hvarfner, Hellsten and Nardi 2024 (https://arxiv.org/abs/2402.02229): lengthscales grow with the
square root of the dimension, so that the assumed complexity does not grow with the number of parameters. The kernel's
variance is 1, since values are standardised. The constant mean has a normal prior and is integrated out: a mean fixed
at zero would mistake the observed values for the prior, and they are better than average, since they were searched for.

Notation, in addition to that of `kernel`:
    theta   (g + 1,) the logarithms of the lengthscales and of the noise variance
"""

from __future__ import annotations

import math

import numpy as np

from tunefleet_master.search.gaussian_process.kernel import Array, Indices, matern, squared_distances

LENGTH_MEAN, LENGTH_DEVIATION = math.sqrt(2.0), math.sqrt(3.0)  # of log(lengthscale) - log(g) / 2: Hvarfner et al.
NOISE_MEAN, NOISE_DEVIATION = -4.0, 1.0  # of log(noise): Hvarfner et al.
MEAN_VARIANCE = 1.0  # of the constant mean: as large as the variance of the values

LENGTH_BOUNDS = (-4.0, 7.0)  # of log(lengthscale): from a fiftieth of the range to no influence
NOISE_BOUNDS = (math.log(1e-6), 1.0)  # of log(noise): below, matrices cannot be inverted
FIRST_LENGTH = 0.5  # the initial lengthscale, times the root of g: a function that varies over the range
MAX_ITERATIONS = 60  # it converges within 15 to 40
STEP = 1e-3  # for the second derivatives, by finite differences
MAX_VARIANCE = LENGTH_DEVIATION**2  # the largest variance in a direction: that of the prior


class LogPosterior:
    """The logarithm of the posterior density of the hyperparameters, up to a constant.

    It is the density of the lengthscales and the noise, not of their logarithms: the mode of the latter has longer
    lengthscales. BoTorch does the same.
    """

    def __init__(self, columns: Array, values: Array, *, groups: Indices, n_groups: int) -> None:
        """Take values (n,), approximately standardised, at columns (n, c)."""
        self._columns = columns
        self._values = values
        self._groups = groups
        self._n_groups = n_groups
        self._in_group = (np.arange(n_groups)[:, None] == groups).astype(np.float64)

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return the value and its gradient (g + 1,) at theta."""
        value, gradient = self.likelihood(theta)
        prior, slope = self.prior(theta)
        return value + prior, gradient + slope

    def prior(self, theta: Array) -> tuple[float, Array]:
        """Return the logarithm of the prior and its gradient."""
        middle = np.append(np.full(self._n_groups, LENGTH_MEAN + 0.5 * math.log(max(1, self._n_groups))), NOISE_MEAN)
        deviation = np.append(np.full(self._n_groups, LENGTH_DEVIATION), NOISE_DEVIATION)
        z = (theta - middle) / deviation
        return float(-0.5 * (z @ z) - theta.sum()), -z / deviation - 1.0

    def likelihood(self, theta: Array) -> tuple[float, Array]:
        """Return the log marginal likelihood and its gradient (Rasmussen and Williams 2006, equations 5.8 and 5.9)."""
        from scipy.linalg import lapack

        n = len(self._values)
        noise = math.exp(theta[-1])
        scaled = self._columns * np.exp(-theta[:-1])[self._groups]
        covariance, slope = matern(squared_distances(scaled, scaled))
        covariance += MEAN_VARIANCE
        covariance.flat[:: n + 1] += noise
        factor, _ = lapack.dpotrf(covariance, lower=1)
        solved, _ = lapack.dpotrs(factor, self._values, lower=1)
        inverse, _ = lapack.dpotri(factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        value = -0.5 * self._values @ solved - np.log(factor.diagonal()).sum()
        outer = 0.5 * (np.outer(solved, solved) - inverse)
        # d value / d log l_g = sum over i, j of outer_ij slope_ij (-2 (z_ig - z_jg)^2), without an (n, n, g) array.
        weights = outer * slope
        spread = weights.sum(axis=1) @ (scaled * scaled) - np.einsum("ij,ij->j", scaled, weights @ scaled)
        return float(value), np.append(self._in_group @ (-4.0 * spread), noise * outer.trace())


def posterior_mode(posterior: LogPosterior, n_groups: int) -> Array:
    """Return the mode (g + 1,) of the posterior."""
    from scipy.optimize import minimize

    def loss(theta: Array) -> tuple[float, Array]:
        value, gradient = posterior(theta)
        return -value, -gradient

    found = minimize(
        loss,
        np.append(np.full(n_groups, math.log(FIRST_LENGTH * math.sqrt(max(1, n_groups)))), NOISE_MEAN),
        jac=True,
        method="L-BFGS-B",
        bounds=[LENGTH_BOUNDS] * n_groups + [NOISE_BOUNDS],
        options={"maxiter": MAX_ITERATIONS, "ftol": 1e-6, "gtol": 1e-3},
    )
    return np.asarray(found.x)


def sample_posterior(posterior: LogPosterior, mode: Array, *, n: int, generator: np.random.Generator) -> Array:
    """Draw hyperparameters (n, g + 1) from the Laplace approximation at the mode.

    With a few dozen values the hyperparameters are uncertain, and a proposal from one estimate of them is overconfident
    (Snoek et al. 2012, section 3.2, who use slice sampling; a normal costs only g + 2 gradients).
    """
    _, gradient = posterior(mode)
    steps = STEP * np.eye(len(mode))
    curvature = np.array([(gradient - posterior(mode + step)[1]) / STEP for step in steps])
    eigenvalues, directions = np.linalg.eigh((curvature + curvature.T) / 2.0)
    deviations = 1.0 / np.sqrt(np.maximum(eigenvalues, 1.0 / MAX_VARIANCE))
    drawn = mode + (generator.standard_normal((n, len(mode))) * deviations) @ directions.T
    low, high = np.array([LENGTH_BOUNDS] * (len(mode) - 1) + [NOISE_BOUNDS]).T
    return np.asarray(np.clip(drawn, low, high))
