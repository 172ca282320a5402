"""A trust region for the search of spaces with many dimensions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tunefleet_master.search.axes import Points
from tunefleet_master.search.gaussian_process.kernel import Array
from tunefleet_master.search.gaussian_process.neighbourhood import Box

# Eriksson et al. 2019 (https://arxiv.org/abs/1910.01739), section 3 and appendix D.
FIRST_LENGTH, MIN_LENGTH, MAX_LENGTH = 0.8, 2.0**-7, 1.6
SUCCESSES = 3
MIN_FAILURES = 4
MIN_GAIN = 1e-3  # relative to the best value, for a result to count as a success: the authors' code
MOVED = 20  # the mean number of coordinates that a candidate changes: the authors' code


@dataclass(frozen=True, slots=True)
class TrustRegion:
    """The state of the trust region after all results so far; batches follow the paper's rules for q = 1.

    Attributes:
        length: the side of the box, before it is stretched along axes with longer lengthscales.
        since: the index of the first result after the last restart; the number of results if none came since.
    """

    length: float
    since: int

    @classmethod
    def after(cls, values: Array, *, d: int, n_startup: int) -> TrustRegion:
        """Return the region after results (n,), in the order in which they came; lower is better.

        Its whole state follows from these results, so none is stored. The first `n_startup` results after a restart are
        the initial design and count neither as successes nor as failures.
        """
        max_failures = max(MIN_FAILURES, d)
        length, since, best, successes, failures = FIRST_LENGTH, 0, math.inf, 0, 0
        for i, value in enumerate(values):
            is_success = i - since < n_startup or value < best - MIN_GAIN * abs(best)
            best = min(best, float(value))
            if i - since < n_startup:
                continue
            successes, failures = (successes + 1, 0) if is_success else (0, failures + 1)
            if successes == SUCCESSES:
                length, successes = min(2.0 * length, MAX_LENGTH), 0
            elif failures == max_failures:
                length, failures = length / 2.0, 0
            if length < MIN_LENGTH:
                length, since, best = FIRST_LENGTH, i + 1, math.inf
        return cls(length, since)

    def box(self, centre: Points, *, lengthscales: Array, is_free: Array) -> Box:
        """Return the box around a centre (d,), stretched by the lengthscales (d,) at constant volume."""
        logs = np.log(lengthscales)
        half = 0.5 * self.length * np.exp(logs - logs[is_free].mean())
        middle = np.nan_to_num(centre, nan=0.5)
        low, high = np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)
        return Box(low, high, centre, min(1.0, MOVED / int(is_free.sum())))
