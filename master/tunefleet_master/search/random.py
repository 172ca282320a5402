"""Independent uniform draws, on each parameter's own scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunefleet.study.space import Configuration
from tunefleet_master.search.history import History
from tunefleet_master.search.sampler import Sampler


class RandomSampler(Sampler):
    """Random search (Bergstra and Bengio 2012, https://jmlr.org/papers/v13/bergstra12a.html).

    Each position has a generator of its own, seeded by (seed, position), so that position 1,000 costs as much as
    position 0.
    """

    name = "random"

    def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
        """Never runs out."""
        return [self._at(index) for index in range(position, position + n)]

    def _at(self, position: int) -> Configuration | None:
        point = np.random.default_rng([self.seed, position]).random(len(self.space.names)).tolist()
        return self._allowed(self.space.from_unit(dict(zip(self.space.names, point, strict=True))))
