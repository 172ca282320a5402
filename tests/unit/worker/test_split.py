"""The parts of a split: disjoint, stratified, seeded, nested."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tunefleet.spec import DataSpec
from tunefleet_worker.tasks.datasets.split import Split, SplitError, split_indices, stratified_order

LABELS = torch.tensor([0] * 500 + [1] * 300 + [2] * 50)[torch.randperm(850, generator=torch.Generator().manual_seed(0))]


def divide(labels: Tensor = LABELS, *, test: float = 0.2, train: float = 0.8, **changes: Any) -> Split:
    split = {"train": train, "validation": changes.pop("validation", 0.2)}
    return split_indices(labels, DataSpec.parse({"split": split, **changes}), test=test)


def counts(index: Tensor) -> list[int]:
    return torch.bincount(LABELS[index], minlength=3).tolist()


def test_no_sample_is_in_two_parts_and_none_is_lost() -> None:
    split = divide()
    assert sorted(torch.cat([split.train, split.validation, split.test]).tolist()) == list(range(850))


def test_each_part_holds_each_class_in_its_share() -> None:
    split = divide()
    assert [len(part) for part in (split.test, split.validation, split.train)] == [170, 136, 544]
    assert counts(split.test) == [100, 60, 10]
    assert counts(split.validation) == [80, 48, 8]
    assert counts(split.train) == [320, 192, 32]


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_beginning_is_stratified_to_within_one_sample(
    sizes: list[int], ends: tuple[float, float], seed: int
) -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    order = stratified_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    for share in ends:
        beginning = labels[order[: round(share * len(labels))]]
        for label, size in enumerate(sizes):
            assert abs(int((beginning == label).sum()) - size * len(beginning) / len(labels)) <= 1 + 1e-9


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    assert torch.equal(divide(seed=4).train, divide(seed=4).train)
    assert not torch.equal(divide(seed=4).test.sort().values, divide(seed=5).test.sort().values)


def test_the_split_does_not_depend_on_the_global_generator_nor_moves_it() -> None:
    torch.manual_seed(1)
    first = divide()
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(divide().train, first.train)


def test_the_test_part_stays_when_the_other_shares_change() -> None:
    assert torch.equal(divide().test, divide(train=0.5, validation=0.5, subset=0.3).test)


def test_the_validation_part_stays_when_the_training_part_shrinks() -> None:
    assert torch.equal(divide().validation, divide(train=0.4, subset=0.5).validation)


def test_smaller_subsets_lie_within_larger_ones_and_are_stratified() -> None:
    tenth, quarter, whole = (set(divide(subset=subset).train.tolist()) for subset in (0.1, 0.25, 1.0))
    assert tenth < quarter < whole
    assert counts(torch.tensor(sorted(quarter))) == [80, 48, 8]


def test_shares_that_leave_some_out_are_kept_as_they_are() -> None:
    split = divide(train=0.5, validation=0.25, test=0.0)
    assert (len(split.train), len(split.validation), len(split.test)) == (425, 212, 0)


def test_without_stratification_the_parts_are_of_the_same_size_and_random() -> None:
    split = divide(stratify=False)
    assert [len(part) for part in (split.test, split.validation, split.train)] == [170, 136, 544]
    assert counts(split.test) != [100, 60, 10]


@pytest.mark.parametrize("changes", [{"subset": 0.001}, {"validation": 0.0001}], ids=str)
def test_part_that_would_be_too_small_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SplitError, match="too few for 3 classes"):
        divide(**changes)
