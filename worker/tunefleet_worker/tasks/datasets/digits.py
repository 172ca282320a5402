"""The 1797 handwritten digits of 8x8 pixels that come inside scikit-learn (Alpaydin and Kaynak 1998, UCI)."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch

from tunefleet_worker.tasks.datasets.source import DataUnavailable, Raw, Source

SAMPLES, PIXELS = 1797, 64


def digits() -> Source:
    """The data set; it has no official test part."""
    return Source("digits", classes=tuple(str(digit) for digit in range(10)), open=_read)


def _read() -> Raw:
    """The file that scikit-learn packages; importing scikit-learn for it would cost a trial two seconds."""
    path = _path()
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    except (OSError, ValueError) as error:
        raise DataUnavailable(f"the data set digits cannot be read from {path}: {error}.") from error
    if table.shape != (SAMPLES, PIXELS + 1):
        raise DataUnavailable(
            f"the data set digits in {path} has the shape {table.shape}, not {(SAMPLES, PIXELS + 1)}."
        )
    values = torch.from_numpy(table[:, :PIXELS].copy()).reshape(-1, 1, 8, 8)
    return Raw(values, torch.from_numpy(table[:, PIXELS].astype(np.int64)), scale=16.0)


def _path() -> Path:
    spec = importlib.util.find_spec("sklearn")  # finds the package without importing it
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            return path
    raise DataUnavailable(
        "the data set digits comes with scikit-learn, which is not installed here.",
        hint="Run: pip install 'tunefleet[worker]'",
    )
