"""The training part and the validation part of one fold, by the rules of a study's `data`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tunefleet.data.columns import Positions
from tunefleet.data.folds import fold_indices
from tunefleet.data.order import random_order, stratified_order
from tunefleet.study.spec import DataSpec


def split_for_fold(
    labels: ArrayLike, spec: DataSpec, *, fold: int, groups: ArrayLike | None = None
) -> tuple[Positions, Positions]:
    """Return the positions for training and for validation, each ascending; `fold` counts from 0.

    The training part is reduced to the share `spec.subset`. A smaller subset is contained in a larger one.

    Raises:
        SplitError: there are fewer samples, groups, or samples of a class, than folds.
    """
    parts = fold_indices(labels, folds=spec.folds, seed=spec.seed, groups=groups, stratify=spec.stratify)
    train, validation = parts[fold]
    if spec.subset < 1:
        column = np.asarray(labels)[train]
        order = stratified_order(column, spec.seed) if spec.stratify else random_order(len(train), spec.seed)
        train = np.sort(train[order[: max(1, round(spec.subset * len(train)))]])
    return train, validation
