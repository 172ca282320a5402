"""Raw samples of a data set, before they are divided, scaled or standardised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tunefleet.errors import TunefleetError
from tunefleet_worker.training.samples import Samples


class DataUnavailable(TunefleetError):
    """A data set is unknown or not installed, or its files cannot be read."""

    code = "data_unavailable"


@dataclass(frozen=True)
class Raw:
    """Values as stored, (n, channels, ...), with labels, int64 (n,); `scale` is the value that becomes 1."""

    values: Tensor
    labels: Tensor
    scale: float = 1.0

    def take(self, index: Tensor) -> Samples:
        """Return the samples at these positions, as float32."""
        return Samples(self.values[index].to(torch.float32).div_(self.scale), self.labels[index])

    def all(self) -> Samples:
        """Return every sample, as float32."""
        return self.take(torch.arange(len(self.labels)))


@dataclass(frozen=True)
class Source:
    """A data set.

    `open` reads all samples outside the official test part. `open_test` reads that part; it is None if there is none,
    and `parts` then sets a test part aside. Only `parts` calls them.
    """

    name: str
    classes: tuple[str, ...]
    open: Callable[[], Raw]
    open_test: Callable[[], Raw] | None = None
