"""Two small tables in scikit-learn. Each feature is a channel of length 1, so it is standardised on its own."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from tunefleet_worker.tasks.datasets.packaged import read_packaged
from tunefleet_worker.tasks.datasets.source import Raw, Source


def wine() -> Source:
    """Return 178 wines of three growers by 13 chemical measurements (Aeberhard and Forina 1992, UCI)."""
    return Source("wine", ("grower 1", "grower 2", "grower 3"), open=partial(_read, "wine", "wine_data.csv", (178, 13)))


def breast_cancer() -> Source:
    """Return 569 tumours by 30 measurements of their cell nuclei (Wolberg et al. 1995, UCI)."""
    read = partial(_read, "breast_cancer", "breast_cancer.csv", (569, 30))
    return Source("breast_cancer", ("malignant", "benign"), open=read)


def _read(name: str, file: str, shape: tuple[int, int]) -> Raw:
    n_samples, n_features = shape
    table = read_packaged(name, file, shape=(n_samples, n_features + 1), header_rows=1)
    values = torch.from_numpy(table[:, :n_features].astype(np.float32)).unsqueeze(2)
    return Raw(values, torch.from_numpy(table[:, n_features].astype(np.int64)))
