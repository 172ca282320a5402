"""Batch growth instead of learning-rate decay (Smith et al. 2018, arXiv:1711.00489).

    N       training samples
    B, eps  batch size and learning rate
    g       the noise scale eps (N/B - 1), close to eps N/B, of SGD's gradients (Smith and Le 2018, arXiv:1710.06451)

The same g gives the same loss after the same number of epochs, with fewer updates. Where a schedule divides eps by k,
B is multiplied by k, up to N/10. Above that g is not close to eps N/B, and the rate decays instead.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from tunefleet_worker.training.curves import Curve
from tunefleet_worker.training.epochs import n_batches

MAX_SHARE = 0.1  # of the samples in one batch: Smith et al. 2018, section 5


def noise_scale(rate: float, batch_size: int, *, n_samples: int) -> float:
    """Return g = eps (N/B - 1) for a learning rate and a batch size."""
    return rate * (n_samples / batch_size - 1.0)


def grown(batch_size: int, factor: float, *, n_samples: int) -> tuple[int, float]:
    """Return the batch size and the rate factor that together divide eps/B like `factor` on the rate alone.

    Args:
        batch_size: the batch size without decay.
        factor: the schedule's factor on the rate, in (0, 1].
        n_samples: number of training samples; a batch has at most a tenth of them, or `batch_size` if that is larger.
    """
    largest = max(batch_size, int(n_samples * MAX_SHARE))
    size = min(largest, round(batch_size / factor))
    return size, factor * size / batch_size


@dataclass(frozen=True)
class BatchPlan:
    """The batch size and the rate factor in each epoch of a training.

    Attributes:
        n_samples: number of training samples.
        sizes: the batch size by epoch.
        factors: the factor on the rate by epoch.
    """

    n_samples: int
    sizes: tuple[int, ...]
    factors: tuple[float, ...]

    @classmethod
    def constant(cls, batch_size: int, *, n_samples: int, epochs: int) -> BatchPlan:
        """Return a plan with constant batch size and rate."""
        return cls(n_samples, (batch_size,) * epochs, (1.0,) * epochs)

    @classmethod
    def growing(cls, batch_size: int, decay: Callable[[int], float], *, n_samples: int, epochs: int) -> BatchPlan:
        """Return a plan with larger batches where `decay`, the rate factor by epoch, falls."""
        pairs = [grown(batch_size, decay(epoch), n_samples=n_samples) for epoch in range(epochs)]
        return cls(n_samples, tuple(size for size, _ in pairs), tuple(factor for _, factor in pairs))

    def updates_before(self, epoch: int) -> int:
        """Return the number of updates before an epoch; for the epoch after the last, of all updates."""
        return self._ends[epoch - 1] if epoch > 0 else 0

    def curve(self) -> Curve:
        """Return the rate factor by update."""
        ends, factors = self._ends, self.factors
        return lambda n: factors[min(bisect_right(ends, n), len(factors) - 1)]

    @property
    def _ends(self) -> list[int]:
        return list(accumulate(n_batches(self.n_samples, size) for size in self.sizes))
