"""Grid search: every combination of each parameter's grid values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from tunefleet.study.space import Configuration, Space
from tunefleet_master.search.history import History
from tunefleet_master.search.sampler import Sampler


class GridSampler(Sampler):
    """The full grid, log-spaced where the range is logarithmic.

    It proposes each configuration once; the last parameter varies fastest. If few of the parameters matter, it is worse
    than random search of the same size: most of its points repeat the values that matter (Bergstra and Bengio 2012,
    https://jmlr.org/papers/v13/bergstra12a.html).
    """

    name = "grid"

    def __init__(self, space: Space, *, seed: int) -> None:
        super().__init__(space, seed=seed)
        self._next = 0
        self._rest: Iterator[Configuration] = space.grid()

    def propose(self, position: int, n: int, *, history: History) -> Sequence[Configuration | None]:
        """Return fewer than `n` at the end of the grid."""
        if position != self._next:  # another position than expected: iterate from the start
            self._rest = islice(self.space.grid(), position, None)
        points = list(islice(self._rest, n))
        self._next = position + len(points)
        return points
