"""The 1797 handwritten digits of 8x8 pixels in scikit-learn (Alpaydin and Kaynak 1998, UCI)."""

from __future__ import annotations

import numpy as np
import torch

from tunefleet_worker.tasks.datasets.packaged import read_packaged
from tunefleet_worker.tasks.datasets.source import Raw, Source

SAMPLES, PIXELS = 1797, 64


def digits() -> Source:
    """Return the data set, which has no official test part."""
    return Source("digits", classes=tuple(str(digit) for digit in range(10)), open=_read)


def _read() -> Raw:
    table = read_packaged("digits", "digits.csv.gz", shape=(SAMPLES, PIXELS + 1)).astype(np.uint8)
    values = torch.from_numpy(table[:, :PIXELS].copy()).reshape(-1, 1, 8, 8)
    return Raw(values, torch.from_numpy(table[:, PIXELS].astype(np.int64)), scale=16.0)
