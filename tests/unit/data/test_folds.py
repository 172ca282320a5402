"""Folds: the properties of scikit-learn's folds, and the refusal of impossible ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_wine
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from tunefleet.data.columns import SplitError
from tunefleet.data.folds import fold_indices

Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
LABELS = load_wine().target


def validated(folds: Folds) -> list[int]:
    return sorted(np.concatenate([validation for _, validation in folds]).tolist())


def class_counts(folds: Folds, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each fold's validation part, (folds, classes)."""
    return np.array([np.bincount(labels[validation], minlength=labels.max() + 1) for _, validation in folds])


@given(
    sizes=st.lists(st.integers(5, 30), min_size=1, max_size=5),
    folds=st.integers(2, 5),
    seed=st.integers(0, 2**31 - 1),
)
def test_each_sample_is_validated_once_and_each_fold_has_its_share_of_each_class(
    sizes: list[int], folds: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    made = fold_indices(labels, folds=folds, seed=seed)
    assert validated(made) == list(range(len(labels)))
    for train, validation in made:
        assert sorted([*train, *validation]) == list(range(len(labels)))
    counts = class_counts(made, labels)
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_sizes_and_class_counts_are_those_of_scikit_learn() -> None:
    ours = class_counts(fold_indices(LABELS, folds=5, seed=3), LABELS)
    theirs = class_counts(list(StratifiedKFold(5, shuffle=True, random_state=3).split(LABELS, LABELS)), LABELS)
    assert sorted(ours.tolist()) == sorted(theirs.tolist())
    random = fold_indices(LABELS, folds=5, seed=3, stratify=False)
    sizes = sorted(len(validation) for _, validation in KFold(5).split(LABELS))
    assert sorted(len(validation) for _, validation in random) == sizes
    assert np.ptp(class_counts(random, LABELS), axis=0).max() > 1


def test_folds_depend_on_the_seed_alone() -> None:
    first, again, other = (fold_indices(LABELS, folds=5, seed=seed)[0][1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@given(seed=st.integers(0, 2**31 - 1), folds=st.integers(2, 6), stratify=st.booleans())
def test_no_group_is_in_both_parts_of_a_fold(seed: int, folds: int, stratify: bool) -> None:
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, 20, 150)
    groups[:folds] = np.arange(folds)
    labels = generator.integers(0, 3, 150)
    made = fold_indices(labels, folds=folds, seed=seed, groups=groups, stratify=stratify)
    assert validated(made) == list(range(150))
    for train, validation in made:
        assert not set(groups[train]) & set(groups[validation])
        assert len(validation)


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_dealt_as_evenly_as_scikit_learn_deals_them(seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(60), generator.integers(1, 30, 60))
    labels = (generator.random(len(groups)) < generator.random(60)[groups]).astype(np.int64)
    plain = fold_indices(labels, folds=5, seed=seed, groups=groups, stratify=False)
    theirs = list(GroupKFold(5).split(labels, labels, groups))
    assert np.ptp([len(validation) for _, validation in plain]) <= np.ptp([len(v) for _, v in theirs]) + 1

    def unevenness(folds: Folds) -> float:
        counts = class_counts(folds, labels)
        return float(np.abs(counts - counts.mean(axis=0)).max())

    stratified = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
    assert unevenness(fold_indices(labels, folds=5, seed=seed, groups=groups)) <= unevenness(list(stratified)) + 1


def test_labels_and_groups_may_be_text() -> None:
    labels = np.array(["wine", "beer"])[np.arange(20) % 2]
    groups = [f"cellar {i // 4}" for i in range(20)]
    made = fold_indices(labels, folds=5, seed=0, groups=groups)
    assert [len(validation) for _, validation in made] == [4] * 5


def test_class_with_fewer_samples_than_folds_is_named() -> None:
    with pytest.raises(SplitError, match=r"folds is 5, but the class rare has only 3 samples, too few") as caught:
        fold_indices(["rare"] * 3 + ["often"] * 50, folds=5, seed=0)
    assert "data.stratify to false" in str(caught.value)
    assert len(fold_indices(["rare"] * 3 + ["often"] * 50, folds=5, seed=0, stratify=False)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0, 1], "folds": 3, "stratify": False}, "folds is 3, but there are only 2 samples"),
        ({"labels": [], "folds": 3}, "there are only 0 samples"),
        ({"labels": [0] * 9, "folds": 3, "groups": [1] * 4 + [2] * 5}, "there are only 2 groups"),
        ({"labels": [0] * 9, "folds": 3, "groups": [1, 2, 3]}, "groups has 3 values for 9 samples"),
        ({"labels": [0] * 9, "folds": 3, "groups": [1.0] * 8 + [np.nan]}, "groups has no value for 1 samples"),
        ({"labels": [[0, 1], [1, 0]], "folds": 2}, r"labels must have one dimension.* \(2, 2\)"),
        ({"labels": [0] * 9, "folds": 1}, "at least 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_folds_are_refused_with_the_reason(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        fold_indices(**{"seed": 0, **arguments})  # type: ignore[arg-type]
