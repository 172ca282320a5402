"""Acquisition functions for one objective: expected improvement, weighted by feasibility.

Notation, in addition to that of `process`:
    z         the improvement's standardised distance, (incumbent - mean) / deviation
    h(z)      phi(z) + z Phi(z): the expected improvement is deviation times h
    k         pending points
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from tunefleet_master.search.axes import Points
from tunefleet_master.search.gaussian_process.kernel import Array, Features
from tunefleet_master.search.gaussian_process.process import GaussianProcess, Prediction

LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)
MIN_DIRECT_Z = -1.0  # above it, phi(z) + z Phi(z) loses no digits
MIN_ERFCX_Z = -1e3  # below it, 1 - |z| Phi(z) / phi(z) equals 1/z^2 up to a relative error of 1e-6
MIN_Z = -1e6  # a bound on z: improvements so unlikely need no further distinction


def log_improvement(z: Array) -> tuple[Array, Array]:
    """Return log h(z) and its derivative, accurate also where h is below the smallest float.

    Ament et al. 2023 (https://arxiv.org/abs/2310.20708), equation 9.
    """
    from scipy.special import erfcx, log_ndtr, ndtr

    z = np.maximum(z, MIN_Z)
    out = np.empty_like(z)
    near = z > MIN_DIRECT_Z
    out[near] = np.log(np.exp(-0.5 * z[near] ** 2 - LOG_ROOT_2PI) + z[near] * ndtr(z[near]))
    far = z[~near]
    # h(z) = phi(z) (1 - |z| Phi(z) / phi(z)), and Phi / phi is a scaled erfc.
    ratio = math.sqrt(math.pi / 2.0) * erfcx(-far / math.sqrt(2.0))
    # Where the difference cancels, use its limit 1/z^2.
    rest = np.where(far > MIN_ERFCX_Z, np.log1p(np.maximum(far, MIN_ERFCX_Z) * ratio), -2.0 * np.log(-far))
    out[~near] = -0.5 * far**2 - LOG_ROOT_2PI + rest
    return out, np.exp(log_ndtr(z) - out)


class FeasibilityWeightedAcquisition(ABC):
    """The logarithm of an expected gain at a point, plus the logarithm of the probability that it is feasible.

    Attributes:
        features: of the space.
    """

    def __init__(self, features: Features, *, feasibility: GaussianProcess | None) -> None:
        """Take a process over labels, +1 if training succeeded and -1 if not; None if it always succeeded."""
        self.features = features
        self._feasibility = feasibility

    def __call__(self, points: Points) -> Array:
        """Return the values (q,) at canonical points (q, d)."""
        total = _log_mean(self._log_gains(points))
        if self._feasibility is not None:
            total += _log_mean(_log_feasible(self._feasibility.predict(points))[0])
        return total

    def with_gradient(self, points: Points) -> tuple[Array, Array]:
        """Return the values (q,) and their gradients (q, r) along the real axes."""
        total, gradient = _log_mean_with_gradient(*self._log_gains_with_gradients(points))
        if self._feasibility is not None:
            log_p, along = _log_feasible(self._feasibility.predict(points, slopes=True))
            likely, rise = _log_mean_with_gradient(log_p, along)
            total, gradient = total + likely, gradient + rise
        return total, gradient

    @abstractmethod
    def with_pending(self, points: Points, generator: np.random.Generator) -> FeasibilityWeightedAcquisition:
        """Return the function after each member has drawn the results of pending trials at points (k, d)."""

    @abstractmethod
    def _log_gains(self, points: Points) -> Array:
        """Return the logarithm of the gain (m, q) by each member."""

    @abstractmethod
    def _log_gains_with_gradients(self, points: Points) -> tuple[Array, Array]:
        """Return the logarithm of the gain (m, q) and its gradients (m, q, r)."""


class LogExpectedImprovement(FeasibilityWeightedAcquisition):
    """The logarithm of the expected improvement, averaged over all members, times the probability of being feasible.

    Members differ in their hyperparameters and in the results that they assume for pending trials: each member draws
    one joint sample of these (Snoek et al. 2012, section 3.2). A point near a pending trial therefore gains only what
    that trial leaves. The incumbent is the lowest posterior mean at the observed points, since observations are noisy.
    """

    def __init__(self, process: GaussianProcess, incumbents: Array, *, feasibility: GaussianProcess | None) -> None:
        """Take the incumbents (m,), the values to be improved on."""
        super().__init__(process.features, feasibility=feasibility)
        self.process = process
        self._incumbents = incumbents

    def _log_gains(self, points: Points) -> Array:
        found = self.process.predict(points)
        deviation = np.sqrt(found.variance)
        log_h, _ = log_improvement((self._incumbents[:, None] - found.mean) / deviation)
        return np.asarray(log_h + np.log(deviation))

    def _log_gains_with_gradients(self, points: Points) -> tuple[Array, Array]:
        found = self.process.predict(points, slopes=True)
        deviation = np.sqrt(found.variance)
        z = (self._incumbents[:, None] - found.mean) / deviation
        log_h, slope = log_improvement(z)
        along = (-slope / deviation)[:, :, None] * found.mean_slope
        along += ((1.0 - z * slope) / (2.0 * found.variance))[:, :, None] * found.variance_slope
        return log_h + np.log(deviation), along

    def with_pending(self, points: Points, generator: np.random.Generator) -> LogExpectedImprovement:
        """Return the function after each member has drawn the results of pending trials at points (k, d)."""
        if not len(points):
            return self
        drawn = self.process.sample(points, generator)
        process = self.process.conditioned(points, drawn)
        return LogExpectedImprovement(
            process, np.minimum(self._incumbents, drawn.min(axis=1)), feasibility=self._feasibility
        )


def _log_feasible(found: Prediction) -> tuple[Array, Array]:
    """Return the logarithm (m, q) of the probability that the latent value is positive, and its gradient (m, q, r).

    This is the weight of constrained expected improvement (Gelbart, Snoek and Adams 2014,
    https://arxiv.org/abs/1403.5607). The labels are regressed on, as in least-squares classification (Rasmussen and
    Williams 2006, section 6.5).
    """
    from scipy.special import log_ndtr

    deviation = np.sqrt(found.variance)
    z = found.mean / deviation
    value = log_ndtr(z)
    inner = found.mean_slope / deviation[:, :, None]
    inner = inner - (z / (2.0 * found.variance))[:, :, None] * found.variance_slope
    return value, np.exp(-0.5 * z**2 - LOG_ROOT_2PI - value)[:, :, None] * inner


def _log_mean(values: Array) -> Array:
    """Return the logarithm (q,) of the mean over members, given the logarithms (m, q)."""
    return np.asarray(np.logaddexp.reduce(values, axis=0) - math.log(len(values)))


def _log_mean_with_gradient(values: Array, gradients: Array) -> tuple[Array, Array]:
    """Return the same, and its gradient (q, r), given the members' gradients (m, q, r)."""
    total = _log_mean(values)
    shares = np.exp(values - total) / len(values)
    return total, np.asarray((shares[:, :, None] * gradients).sum(axis=0))
