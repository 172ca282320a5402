"""Quasi-random search: a low-discrepancy sequence, without the clusters and gaps of random search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunefleet.study.space import Configuration
from tunefleet_master.search.history import History
from tunefleet_master.search.sampler import Sampler


class SobolSampler(Sampler):
    """The Sobol sequence with Owen's scrambling (Owen 1998, https://doi.org/10.1006/jcom.1998.0487).

    Scrambling is seeded, so the sequence is the same after each restart. Any stretch of it fills the space evenly. The
    sampler does not learn from results.
    """

    name = "sobol"

    def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
        """Return `n` proposals; the sampler never ends."""
        from scipy.stats import qmc  # takes two seconds, which delay no start of a master

        engine = qmc.Sobol(len(self.space.names), scramble=True, rng=np.random.default_rng(self.seed))
        if position:  # scipy fails on 0
            engine.fast_forward(position)
        # One point first: scipy warns if the size of the first draw is no power of two, which matters for integration
        # but not for search.
        points = [point for size in (1, n - 1) if size for point in engine.random(size).tolist()]
        return [
            self._allowed(self.space.from_unit(dict(zip(self.space.names, point, strict=True)))) for point in points
        ]
