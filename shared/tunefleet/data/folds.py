"""Folds for cross-validation: each sample is validated on exactly once.

They keep what scikit-learn's KFold, StratifiedKFold, GroupKFold and StratifiedGroupKFold promise; the seed gives other
folds than theirs.
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
    """The positions (train, validation) of each fold, each int64 and ascending.

    Each sample is in exactly one fold's validation part, and in the training part of all others. Without groups the
    parts differ in size by at most one sample; stratified, so do the counts of each class. With groups no group is in
    both parts of a fold, and sizes and counts are as equal as whole groups allow. The folds depend on the arguments
    alone; adding samples gives other folds.

    Args:
        labels: one for each sample (n,); of a regression, with `stratify=False`.
        folds: how many, at least 2.
        seed: decides which of all such folds they are.
        groups: what belongs together (n,), such as the patient of each picture.
        stratify: whether each fold holds each class in its share.

    Raises:
        SplitError: there are fewer samples, groups, or samples of a class that is to be in each fold, than folds.
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
    """The class of each sample, each of which has enough for all folds."""
    names, classes = read_classes(labels)
    for name, size in zip(names, np.bincount(classes), strict=False):
        if size < folds:
            raise SplitError(
                f"data.folds is {folds}, and the class {name} has {size} samples, too few to be in each fold.",
                hint="Lower data.folds, leave the class out, or set data.stratify to false.",
            )
    return classes


def _check_enough(count: int, folds: int, things: str) -> None:
    if count < folds:
        raise SplitError(f"data.folds is {folds}, and there are {count} {things}.", hint="Lower data.folds.")


def _deal(classes: Positions, folds: int, seed: int) -> Positions:
    """The fold of each sample: a shuffled deck, sorted by class, is dealt around the table.

    So each fold gets every class, and all in all, the same number of samples to within one.
    """
    shuffled = random_order(len(classes), seed)
    deck = shuffled[np.argsort(classes[shuffled], kind="stable")]
    fold_of = np.empty(len(classes), dtype=np.int64)
    fold_of[deck] = np.arange(len(deck)) % folds
    return fold_of
