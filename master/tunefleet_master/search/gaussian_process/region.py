"""The trust region in which a space of many dimensions is searched."""

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
MIN_GAIN = 1e-3  # of the best value's size, for a result to count as a success: the authors' code
MOVED = 20  # coordinates that a candidate moves in the mean: the authors' code


@dataclass(frozen=True, slots=True)
class TrustRegion:
    """Where to search, given all results so far; of a batch's size the paper's rules for q = 1 know nothing.

    Attributes:
        length: the side of the box, before it is stretched along the axes that matter less.
        since: the index of the first result after the last restart; one behind the last result right after it.
    """

    length: float
    since: int

    @classmethod
    def after(cls, values: Array, *, d: int, n_startup: int) -> TrustRegion:
        """As it is after results (n,), lower being better, in the order in which they came.

        All of its state follows from these, so that none has to be kept. The first `n_startup` results after a
        restart cover the space, and count neither as successes nor as failures.
        """
        patience = max(MIN_FAILURES, d)
        length, since, best, successes, failures = FIRST_LENGTH, 0, math.inf, 0, 0
        for i, value in enumerate(values):
            is_success = i - since < n_startup or value < best - MIN_GAIN * abs(best)
            best = min(best, float(value))
            if i - since < n_startup:
                continue
            successes, failures = (successes + 1, 0) if is_success else (0, failures + 1)
            if successes == SUCCESSES:
                length, successes = min(2.0 * length, MAX_LENGTH), 0
            elif failures == patience:
                length, failures = length / 2.0, 0
            if length < MIN_LENGTH:
                length, since, best = FIRST_LENGTH, i + 1, math.inf
        return cls(length, since)

    def box(self, centre: Points, *, lengthscales: Array, is_free: Array) -> Box:
        """Around a centre (d,), longer along the axes with longer lengthscales (d,), its volume staying the same."""
        logs = np.log(lengthscales)
        half = 0.5 * self.length * np.exp(logs - logs[is_free].mean())
        middle = np.nan_to_num(centre, nan=0.5)
        low, high = np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)
        return Box(low, high, centre, min(1.0, MOVED / int(is_free.sum())))
