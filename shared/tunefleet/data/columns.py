"""Columns with one value for each sample, such as labels, groups or times: reading and validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tunefleet.errors import TunefleetError

Positions = NDArray[np.int64]
"""Positions of samples, (n,)."""


class SplitError(TunefleetError):
    """The data cannot be split as requested."""

    code = "split"


def read_column(values: ArrayLike | Sequence[object], *, name: str, n_samples: int | None = None) -> NDArray[Any]:
    """Return one value for each sample, as an array (n,).

    Raises:
        SplitError: the column does not have one dimension or `n_samples` values, or has NaN or NaT.
    """
    column = np.asarray(values)
    if column.ndim != 1:
        raise SplitError(f"{name} must have one dimension, one value for each sample, but the shape is {column.shape}.")
    if n_samples is not None and len(column) != n_samples:
        raise SplitError(f"{name} has {len(column)} values for {n_samples} samples.")
    is_missing = column != column  # NaN and NaT are not equal to themselves, even as objects
    if is_missing.any():
        raise SplitError(
            f"{name} has no value for {int(is_missing.sum())} samples, the first at {is_missing.argmax()}."
        )
    return column


def read_classes(
    values: ArrayLike | Sequence[object], *, name: str = "labels", n_samples: int | None = None
) -> tuple[NDArray[Any], Positions]:
    """Return the distinct values in order, and the index of each sample's value, int64 (n,).

    Raises:
        SplitError: the column is not valid, or its values cannot be ordered.
    """
    column = read_column(values, name=name, n_samples=n_samples)
    try:
        distinct, codes = np.unique(column, return_inverse=True)
    except TypeError as error:
        raise SplitError(f"{name} mixes values that cannot be compared ({error}).") from error
    return distinct, codes.astype(np.int64)
