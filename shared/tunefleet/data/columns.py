"""What a user knows of each sample, its label, its group or its time, read as an array and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tunefleet.errors import TunefleetError

Positions = NDArray[np.int64]
"""Positions of samples, (n,)."""


class SplitError(TunefleetError):
    """The data cannot be divided as asked."""

    code = "split"


def read_column(values: ArrayLike | Sequence[object], *, name: str, n_samples: int | None = None) -> NDArray[Any]:
    """One value for each sample, as an array (n,).

    Raises:
        SplitError: it has more dimensions than one, another length than `n_samples`, or a value that is not a number.
    """
    column = np.asarray(values)
    if column.ndim != 1:
        raise SplitError(f"{name} must have one dimension, one value for each sample, and the shape is {column.shape}.")
    if n_samples is not None and len(column) != n_samples:
        raise SplitError(f"{name} has {len(column)} values for {n_samples} samples.")
    is_missing = column != column  # NaN and NaT are not themselves, among objects too
    if is_missing.any():
        raise SplitError(
            f"{name} has no value for {int(is_missing.sum())} samples, the first at {is_missing.argmax()}."
        )
    return column


def read_classes(
    values: ArrayLike | Sequence[object], *, name: str = "labels", n_samples: int | None = None
) -> tuple[NDArray[Any], Positions]:
    """The distinct values in their order, and for each sample which of them it has, int64 (n,).

    Raises:
        SplitError: it is no column of values, or its values cannot be ordered.
    """
    column = read_column(values, name=name, n_samples=n_samples)
    try:
        distinct, codes = np.unique(column, return_inverse=True)
    except TypeError as error:
        raise SplitError(f"{name} mixes values that cannot be compared ({error}).") from error
    return distinct, codes.astype(np.int64)
