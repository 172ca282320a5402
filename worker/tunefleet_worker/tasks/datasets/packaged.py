"""The small data sets of scikit-learn, read as files: importing scikit-learn would cost a trial two seconds."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunefleet_worker.tasks.datasets.source import DataUnavailable


def read_packaged(name: str, file: str, *, shape: tuple[int, int], header_rows: int = 0) -> NDArray[np.float64]:
    """Return the numbers of a CSV file, in `shape` (samples, columns).

    Raises:
        DataUnavailable: scikit-learn is not installed, or the file has changed.
    """
    path = _path(name, file)
    try:
        with _opened(path) as lines:
            table = np.loadtxt(lines, delimiter=",", skiprows=header_rows)
    except (OSError, ValueError) as error:
        raise DataUnavailable(f"the data set {name} cannot be read from {path}: {error}.") from error
    if table.shape != shape:
        raise DataUnavailable(f"the data set {name} in {path} has the shape {table.shape}, not {shape}.")
    return table


def _opened(path: Path) -> Any:
    return gzip.open(path, "rt") if path.suffix == ".gz" else path.open()


def _path(name: str, file: str) -> Path:
    spec = importlib.util.find_spec("sklearn")  # finds the package without importing it
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "datasets" / "data" / file
        if path.is_file():
            return path
    raise DataUnavailable(
        f"the data set {name} comes with scikit-learn, which is not installed here.",
        hint="Run: pip install 'tunefleet[worker]'",
    )
