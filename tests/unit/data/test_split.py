"""The parts of a split: disjoint, stratified, seeded, nested; by group, by time and by hashed ids."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tunefleet.data.columns import SplitError
from tunefleet.data.order import random_order, stratified_order
from tunefleet.data.seal import SEAL, TestPartSealed, seal_test_part
from tunefleet.data.split import Split, split_indices
from tunefleet.study.spec import DataSpec

Positions = NDArray[np.int64]
LABELS = np.repeat([0, 1, 2], [500, 300, 50])[random_order(850, 0)]


def divide(
    labels: Any = LABELS, *, test: float = 0.2, train: float = 0.8, given: dict[str, Any] | None = None, **changes: Any
) -> Split:
    """A split of `labels` by the spec with these changes; `given` are further arguments of `split_indices`."""
    split = {"train": train, "validation": changes.pop("validation", 0.2)}
    return split_indices(labels, DataSpec.parse({"split": split, **changes}), test=test, **given or {})


def counts(index: Positions) -> list[int]:
    return [int(count) for count in np.bincount(LABELS[index], minlength=3)]


def sizes(split: Split) -> list[int]:
    return [len(split.sealed), len(split.validation), len(split.train)]


def test_no_sample_is_in_two_parts_and_none_is_lost() -> None:
    split = divide()
    assert sorted(np.concatenate([split.train, split.validation, split.sealed]).tolist()) == list(range(850))


def test_each_part_holds_each_class_in_its_share() -> None:
    split = divide()
    assert sizes(split) == [170, 136, 544]
    assert counts(split.sealed) == [100, 60, 10]
    assert counts(split.validation) == [80, 48, 8]
    assert counts(split.train) == [320, 192, 32]


@given(
    class_sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_beginning_is_as_stratified_as_is_promised(
    class_sizes: list[int], ends: tuple[float, float], seed: int
) -> None:
    labels = np.repeat(np.arange(len(class_sizes)), class_sizes)
    order = stratified_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    for share in ends:
        beginning = labels[order[: round(share * len(labels))]]
        for label, size in enumerate(class_sizes):
            promised = 0.5 + len(class_sizes) / 2 * size / len(labels)
            assert abs(int((beginning == label).sum()) - size * len(beginning) / len(labels)) <= promised + 1e-9


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    assert np.array_equal(divide(seed=4).train, divide(seed=4).train)
    assert not np.array_equal(divide(seed=4).sealed, divide(seed=5).sealed)


def test_the_split_does_not_depend_on_the_global_generator_nor_moves_it() -> None:
    np.random.seed(1)  # noqa: NPY002
    first, drawn = divide(), np.random.rand()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert np.random.rand() == drawn  # noqa: NPY002
    assert np.array_equal(divide().train, first.train)


def test_the_test_part_stays_when_the_other_shares_change() -> None:
    assert np.array_equal(divide().sealed, divide(train=0.5, validation=0.5, subset=0.3).sealed)


def test_the_validation_part_stays_when_the_training_part_shrinks() -> None:
    assert np.array_equal(divide().validation, divide(train=0.4, subset=0.5).validation)


def test_smaller_subsets_lie_within_larger_ones_and_are_stratified() -> None:
    tenth, quarter, whole = (set(divide(subset=subset).train.tolist()) for subset in (0.1, 0.25, 1.0))
    assert tenth < quarter < whole
    assert counts(np.array(sorted(quarter))) == [80, 48, 8]


@given(
    class_sizes=st.lists(st.integers(20, 200), min_size=2, max_size=5),
    shares=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)),
    seed=st.integers(0, 2**31 - 1),
    kind=st.sampled_from(["plain", "group", "time", "ids"]),
)
def test_a_smaller_share_lies_within_a_larger_one_however_the_data_is_divided(
    class_sizes: list[int], shares: tuple[float, float], seed: int, kind: str
) -> None:
    labels = np.repeat(np.arange(len(class_sizes)), class_sizes)[random_order(sum(class_sizes), seed)]
    column = np.arange(len(labels)) // (1 if kind == "ids" else 4)
    given_: dict[str, Any] = (
        {"columns": {"column": column}} if kind in ("group", "time") else {"ids": column} if kind == "ids" else {}
    )
    spec: dict[str, Any] = {kind: "column"} if kind in ("group", "time") else {}
    small, large, whole = (
        divide(labels, seed=seed, subset=share, given=given_, **spec) for share in (min(shares), max(shares), 1.0)
    )
    assert set(small.train) <= set(large.train) <= set(whole.train)
    assert np.array_equal(small.validation, whole.validation)
    if kind != "ids":
        of_whole = np.bincount(labels[whole.train], minlength=len(class_sizes))
        expected = of_whole * len(large.train) / len(whole.train)
        assert np.abs(np.bincount(labels[large.train], minlength=len(class_sizes)) - expected).max() <= 2


def test_shares_that_leave_some_out_are_kept_as_they_are() -> None:
    split = divide(train=0.5, validation=0.25, test=0.0)
    assert sizes(split) == [0, 212, 425]


def test_without_stratification_the_parts_are_of_the_same_size_and_random() -> None:
    split = divide(stratify=False)
    assert sizes(split) == [170, 136, 544]
    assert counts(split.sealed) != [100, 60, 10]


@pytest.mark.parametrize("changes", [{"subset": 0.001}, {"validation": 0.0001}], ids=str)
def test_part_that_would_be_too_small_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SplitError, match="too few for 3 classes"):
        divide(**changes)


def test_labels_that_are_not_classes_are_split_at_random() -> None:
    values = np.random.default_rng(0).normal(size=100)
    split = divide(values, stratify=False)
    assert sizes(split) == [20, 16, 64]
    with pytest.raises(SplitError, match="too few for 100 classes") as caught:
        divide(values)
    assert "data.stratify to false" in str(caught.value)


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_in_two_parts_which_are_near_to_their_shares(seed: int) -> None:
    patients = np.random.default_rng(seed).integers(0, 100, 850)
    split = divide(group="patient", given={"columns": {"patient": patients}}, seed=seed)
    groups = [set(patients[part]) for part in (split.sealed, split.validation, split.train)]
    assert sum(map(len, groups)) == len(set(patients))
    assert sum(sizes(split)) == 850
    assert np.abs(np.array(sizes(split)) - [170, 136, 544]).max() <= 8
    assert np.abs(np.array(counts(split.validation)) - [80, 48, 8]).max() <= 8


def test_the_group_test_part_stays_when_the_other_shares_change() -> None:
    given_ = {"columns": {"patient": np.arange(850) // 7}}
    first, other = (divide(group="patient", given=given_, validation=share, train=0.5) for share in (0.2, 0.4))
    assert np.array_equal(first.sealed, other.sealed)


def test_validation_is_later_than_training_and_the_test_part_later_than_both() -> None:
    days = np.random.default_rng(0).permutation(850) // 3
    split = divide(time="day", given={"columns": {"day": days}})
    assert days[split.train].max() < days[split.validation].min()
    assert days[split.validation].max() < days[split.sealed].min()
    assert np.abs(np.array(sizes(split)) - [170, 136, 544]).max() <= 4


def test_a_shorter_training_part_by_time_is_the_newest() -> None:
    days = [f"2024-{1 + day // 28:02}-{1 + day % 28:02}" for day in range(300)]
    split = divide(LABELS[:300], time="day", train=0.25, validation=0.25, test=0.0, given={"columns": {"day": days}})
    assert sorted(split.train) == list(range(150, 225))
    assert split.validation.tolist() == list(range(225, 300))


def test_times_that_are_equal_are_not_parted() -> None:
    with pytest.raises(SplitError, match="0 samples for training"):
        divide(time="day", given={"columns": {"day": np.zeros(850)}})


def test_adding_samples_never_moves_those_with_hashed_ids() -> None:
    ids = [f"picture-{number}.png" for number in range(850)]
    old = divide(given={"ids": ids})
    mixed = random_order(850, 3).tolist()
    new = divide(
        np.concatenate([LABELS, LABELS])[[*range(850, 1700), *mixed]],
        given={"ids": [f"new-{i}" for i in range(850)] + [ids[i] for i in mixed]},
    )
    for before, after in [(old.train, new.train), (old.validation, new.validation), (old.sealed, new.sealed)]:
        kept = {mixed[position - 850] for position in after if position >= 850}
        assert kept == set(before)


@pytest.mark.parametrize("seed", range(10))
def test_hashed_shares_hold_to_within_chance_also_of_each_class(seed: int) -> None:
    split = divide(given={"ids": range(850)}, seed=seed)
    share = 0.8 * 0.2
    for n_all, n_held_out in zip(np.bincount(LABELS), counts(split.validation), strict=True):
        assert abs(n_held_out - n_all * share) <= 4 * np.sqrt(n_all * share * (1 - share))


def test_groups_are_hashed_where_ids_are() -> None:
    patients = np.arange(850) // 10
    first = divide(group="patient", given={"columns": {"patient": patients}, "ids": range(850)})
    assert not set(patients[first.train]) & set(patients[first.validation])
    later = divide(LABELS[:400], group="patient", given={"columns": {"patient": patients[:400]}, "ids": range(400)})
    assert set(later.train) == {position for position in first.train if position < 400}


@pytest.mark.parametrize(
    ("spec", "columns", "message"),
    [
        ({"group": "patient"}, {}, "data.group is 'patient', but there is no such column; this data has none"),
        ({"group": "patint"}, {"patient": range(850)}, "did you mean 'patient'"),
        ({"time": "day"}, {"day": range(7)}, "the column 'day' has 7 values for 850 samples"),
    ],
    ids=["none", "typo", "short"],
)
def test_a_column_that_is_not_there_is_named(spec: dict[str, Any], columns: dict[str, Any], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        divide(given={"columns": columns}, **spec)


def test_a_split_by_time_refuses_ids() -> None:
    with pytest.raises(SplitError, match="does not hash ids"):
        divide(time="day", given={"columns": {"day": range(850)}, "ids": range(850)})


def test_opening_the_test_part_leaves_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(divide().open_test()) == 170
    assert "the test part of 170 samples is opened" in caplog.text


def test_a_trial_of_a_search_gets_no_test_part(monkeypatch: pytest.MonkeyPatch) -> None:
    split = divide()
    monkeypatch.setenv(SEAL, "")
    seal_test_part()
    with pytest.raises(TestPartSealed, match="sealed until the end of the search"):
        split.open_test()
