"""A low-discrepancy sequence: random search without the clumps and holes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunefleet.study.space import Configuration
from tunefleet_master.search.history import History
from tunefleet_master.search.sampler import Sampler


class SobolSampler(Sampler):
    """The Sobol sequence with Owen's scrambling (Owen 1998, https://doi.org/10.1006/jcom.1998.0487), one axis each.

    Scrambling is seeded, so that the sequence is the same at each start; any stretch of it fills the space evenly. It
    learns nothing: an even cover saves it the gaps and clusters of random search, and no more.
    """

    name = "sobol"

    def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
        """Never runs out."""
        from scipy.stats import qmc  # takes two seconds to import, which a master that starts need not wait for

        engine = qmc.Sobol(len(self.space.names), scramble=True, rng=np.random.default_rng(self.seed))
        if position:  # scipy fails on 0
            engine.fast_forward(position)
        # One point first: scipy warns of a first draw whose size is no power of two, which matters for integration
        # and not for search.
        points = [point for size in (1, n - 1) if size for point in engine.random(size).tolist()]
        return [
            self._allowed(self.space.from_unit(dict(zip(self.space.names, point, strict=True)))) for point in points
        ]
