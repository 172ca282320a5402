"""Random search: independent uniform draws on each parameter's own scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunefleet.study.space import Configuration
from tunefleet_master.search.history import History
from tunefleet_master.search.sampler import Sampler


class RandomSampler(Sampler):
    """Random search (Bergstra and Bengio 2012, https://jmlr.org/papers/v13/bergstra12a.html).

    Each position has its own generator, seeded by (seed, position). The cost of a proposal does not depend on its
    position.
    """

    name = "random"

    def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
        """Return `n` proposals; the sampler never ends."""
        return [self._at(index) for index in range(position, position + n)]

    def _at(self, position: int) -> Configuration | None:
        point = np.random.default_rng([self.seed, position]).random(len(self.space.names)).tolist()
        return self._allowed(self.space.from_unit(dict(zip(self.space.names, point, strict=True))))
