"""The port of all samplers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from tunefleet.space import Configuration, Space


class Sampler(ABC):
    """Proposes configurations of a space.

    A sampler is pure: the same space, seed and position give the same proposals, however many are asked for at a
    time, in whatever process. Each proposal has a position, counted from 0 over the life of the study, so that a
    study goes on where it stopped without a sampler's state being stored.
    """

    name: ClassVar[str]

    def __init__(self, space: Space, *, seed: int) -> None:
        self.space = space
        self.seed = seed

    @abstractmethod
    def propose(self, position: int, n: int) -> Sequence[Configuration | None]:
        """The proposals at `position` to `position + n - 1`.

        None stands where the position gives no configuration that the constraints allow. Fewer than `n` are returned
        only by a sampler that has no more.
        """

    def _allowed(self, configuration: Configuration) -> Configuration | None:
        return configuration if self.space.allows(configuration) else None
