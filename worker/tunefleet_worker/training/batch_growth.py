"""Growing the batch instead of decaying the rate (Smith et al. 2018, arXiv:1711.00489).

    N       training samples
    B, eps  batch size and learning rate
    g       the noise scale eps (N/B - 1), close to eps N/B, of SGD's gradients (Smith and Le 2018, arXiv:1710.06451)

The same g gives the same loss after the same number of epochs, in fewer updates: where a schedule divides eps by k, B
is multiplied by k, until B is N/10. Beyond that g is no longer close to eps N/B, and the rate decays instead.
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
    """The g = eps (N/B - 1) of a learning rate and a batch size."""
    return rate * (n_samples / batch_size - 1.0)


def grown(batch_size: int, factor: float, *, n_samples: int) -> tuple[int, float]:
    """The batch size and the factor on the rate that together divide eps/B as `factor` on the rate alone would.

    Args:
        batch_size: where there is no decay.
        factor: what a schedule would multiply the rate by, in (0, 1].
        n_samples: a batch never has more than a tenth of them, or `batch_size` where that is more.
    """
    largest = max(batch_size, int(n_samples * MAX_SHARE))
    size = min(largest, round(batch_size / factor))
    return size, factor * size / batch_size


@dataclass(frozen=True)
class BatchPlan:
    """The batch size and the factor on the rate in each epoch of a training.

    Attributes:
        n_samples: the training part's.
        sizes: the batch size by epoch.
        factors: the factor on the rate by epoch.
    """

    n_samples: int
    sizes: tuple[int, ...]
    factors: tuple[float, ...]

    @classmethod
    def constant(cls, batch_size: int, *, n_samples: int, epochs: int) -> BatchPlan:
        """The same batch size and rate throughout."""
        return cls(n_samples, (batch_size,) * epochs, (1.0,) * epochs)

    @classmethod
    def growing(cls, batch_size: int, decay: Callable[[int], float], *, n_samples: int, epochs: int) -> BatchPlan:
        """Larger batches wherever `decay`, the factor on the rate by epoch, falls."""
        pairs = [grown(batch_size, decay(epoch), n_samples=n_samples) for epoch in range(epochs)]
        return cls(n_samples, tuple(size for size, _ in pairs), tuple(factor for _, factor in pairs))

    def updates_before(self, epoch: int) -> int:
        """How many updates are made before an epoch begins; all of them before the one behind the last."""
        return self._ends[epoch - 1] if epoch > 0 else 0

    def curve(self) -> Curve:
        """The factor on the rate by update."""
        ends, factors = self._ends, self.factors
        return lambda n: factors[min(bisect_right(ends, n), len(factors) - 1)]

    @property
    def _ends(self) -> list[int]:
        return list(accumulate(n_batches(self.n_samples, size) for size in self.sizes))
