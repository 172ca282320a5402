"""Folds for cross-validation: each sample is validated on exactly once.

The folds have the properties of scikit-learn's KFold, StratifiedKFold, GroupKFold and StratifiedGroupKFold, but the
same seed gives different folds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tunefleet.data.columns import Positions, SplitError, read_classes, read_column
from tunefleet.data.dealing import deal_groups
from tunefleet.data.order import random_order


def fold_indices(
    labels: ArrayLike, *, folds: int, seed: int, groups: ArrayLike | None = None, stratify: bool = True
) -> list[tuple[Positions, Positions]]:
    """Return the positions (train, validation) of each fold, each int64 and ascending.

    Each sample is in the validation part of exactly one fold, and in the training part of all others. Without groups,
    the validation parts differ in size by at most one sample; if stratified, so do the counts of each class. With
    groups, no group is in both parts of a fold, and sizes and counts are as equal as whole groups allow. The folds
    depend only on the arguments; adding samples gives different folds.

    Args:
        labels: one label for each sample (n,); for a regression, set `stratify=False`.
        folds: the number of folds, at least 2.
        seed: the seed of the shuffle.
        groups: one group for each sample (n,), such as the patient of each image.
        stratify: True to give each fold its share of every class.

    Raises:
        SplitError: there are fewer samples or groups than folds or, if stratified, fewer samples of a class.
    """
    if folds < 2:
        raise SplitError(f"data.folds is {folds}; cross-validation needs at least 2.")
    classes = _strata(labels, folds) if stratify else np.zeros(len(read_column(labels, name="labels")), dtype=np.int64)
    if groups is None:
        _check_enough(len(classes), folds, "samples")
        fold_of = _deal(classes, folds, seed)
    else:
        distinct, codes = read_classes(groups, name="groups", n_samples=len(classes))
        _check_enough(len(distinct), folds, "groups")
        fold_of = deal_groups(codes, classes, shares=np.full(folds, 1 / folds), seed=seed)
    return [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(folds)]


def _strata(labels: ArrayLike, folds: int) -> Positions:
    """Return the class of each sample. Raises SplitError if a class has fewer samples than folds."""
    names, classes = read_classes(labels)
    for name, size in zip(names, np.bincount(classes), strict=False):
        if size < folds:
            raise SplitError(
                f"data.folds is {folds}, but the class {name} has only {size} samples, too few for one in each fold.",
                hint="Lower data.folds, leave the class out, or set data.stratify to false.",
            )
    return classes


def _check_enough(count: int, folds: int, things: str) -> None:
    if count < folds:
        raise SplitError(f"data.folds is {folds}, but there are only {count} {things}.", hint="Lower data.folds.")


def _deal(classes: Positions, folds: int, seed: int) -> Positions:
    """Return the fold of each sample: samples are shuffled, sorted by class, and assigned to the folds in turn.

    So the folds differ by at most one sample in size, and in the count of each class.
    """
    shuffled = random_order(len(classes), seed)
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    fold_of = np.empty(len(classes), dtype=np.int64)
    fold_of[by_class] = np.arange(len(by_class)) % folds
    return fold_of
