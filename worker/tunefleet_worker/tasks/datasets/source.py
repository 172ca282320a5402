"""What a data set's own module gives: raw samples, before anything is divided, scaled or standardised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tunefleet.errors import TunefleetError
from tunefleet_worker.training.samples import Samples


class DataUnavailable(TunefleetError):
    """A data set is unknown, not installed, or its files cannot be read."""

    code = "data_unavailable"


@dataclass(frozen=True)
class Raw:
    """Values as stored, (n, channels, ...), with labels, int64 (n,); `scale` is the value that becomes 1."""

    values: Tensor
    labels: Tensor
    scale: float = 1.0

    def take(self, index: Tensor) -> Samples:
        """The samples at these positions, as float32."""
        return Samples(self.values[index].to(torch.float32).div_(self.scale), self.labels[index])

    def all(self) -> Samples:
        """Every sample, as float32."""
        return self.take(torch.arange(len(self.labels)))


@dataclass(frozen=True)
class Source:
    """A data set.

    `open` reads what may be looked at; `open_test` reads the official test part, and is None where there is none, so
    that one has to be set aside. Only `parts` calls them.
    """

    name: str
    classes: tuple[str, ...]
    open: Callable[[], Raw]
    open_test: Callable[[], Raw] | None = None
