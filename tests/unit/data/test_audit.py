"""The audit of a split: it finds planted faults and reports nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from tunefleet.data.audit import audit_split, smallest_difference
from tunefleet.data.columns import SplitError
from tunefleet.data.split import split_indices
from tunefleet.protocol.findings import FindingView
from tunefleet.study.spec import DataSpec

Array = NDArray[Any]
DATA = {"digits": load_digits, "breast_cancer": load_breast_cancer, "wine": load_wine}


def loaded(name: str) -> tuple[Array, Array, dict[str, Array]]:
    data = DATA[name]()
    inputs = data.images[:, None] if name == "digits" else data.data
    split = split_indices(data.target, DataSpec(), test=0.2)
    return inputs, data.target, {"train": split.train, "validation": split.validation}


def by_code(found: list[FindingView]) -> dict[str, FindingView]:
    return {finding.code: finding for finding in found}


@pytest.fixture
def digits() -> tuple[Array, Array, dict[str, Array]]:
    return loaded("digits")


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("seed", range(3))
def test_a_split_without_duplicates_has_no_such_finding(name: str, seed: int) -> None:
    inputs, labels, _ = loaded(name)
    split = split_indices(labels, DataSpec(seed=seed), test=0.2)
    found = by_code(audit_split(inputs, labels, parts={"train": split.train, "validation": split.validation}))
    assert not {"split.duplicates", "split.near_duplicates", "split.share"} & found.keys()


@pytest.mark.parametrize("name", DATA)
def test_copies_are_found_and_so_are_noisy_copies(name: str) -> None:
    inputs, labels, parts = loaded(name)
    held_out, kept = parts["validation"][:6], parts["train"][:6]
    copied, noisy = inputs.copy(), inputs.astype(float)
    copied[held_out] = inputs[kept]
    noise = np.random.default_rng(0).normal(size=inputs[kept].shape) * 0.02 * inputs[parts["train"]].std(axis=0)
    noisy[held_out] = inputs[kept] + noise
    exact = by_code(audit_split(copied, labels, parts=parts))
    assert "split.near_duplicates" not in exact
    evidence = exact["split.duplicates"].evidence
    assert evidence["count"] == 6
    assert evidence["other_label"] == int((labels[held_out] != labels[kept]).sum())
    near: Any = by_code(audit_split(noisy, labels, parts=parts))["split.near_duplicates"].evidence
    assert sorted(near["pairs"]) == sorted(np.stack([kept, held_out], axis=1).tolist())


def test_a_brighter_copy_of_a_picture_is_a_copy(digits: tuple[Array, Array, dict[str, Array]]) -> None:
    inputs, labels, parts = digits
    brighter = inputs.copy()
    brighter[parts["validation"][:5]] = 1.3 * inputs[parts["train"][:5]] + 2
    assert by_code(audit_split(brighter, labels, parts=parts))["split.near_duplicates"].evidence["count"] == 5


def test_every_pair_of_parts_is_compared(digits: tuple[Array, Array, dict[str, Array]]) -> None:
    inputs, labels, parts = digits
    found = audit_split(inputs, labels, parts={**parts, "test": parts["validation"]})
    [duplicates] = [finding for finding in found if finding.code == "split.duplicates"]
    assert duplicates.sentence == "288 of 288 samples of test are the same as a sample of validation."


def test_classes_with_too_few_validation_samples_are_named() -> None:
    labels = np.array(["cat"] * 200 + ["dog"] * 200 + ["lynx"] * 12)
    split = split_indices(labels, DataSpec())
    inputs = np.random.default_rng(0).normal(size=(412, 5))
    few = by_code(audit_split(inputs, labels, parts={"train": split.train, "validation": split.validation}))
    assert few["split.few_of_class"].evidence["samples"] == {"lynx": 2}
    assert "folds: 5" in few["split.few_of_class"].remedy
    folded = by_code(audit_split(inputs, labels, parts={"train": split.train, "validation": split.validation}, folds=5))
    assert "split.few_of_class" not in folded


def test_a_class_that_is_only_validated_on_is_a_blocker_and_comes_first() -> None:
    labels = np.arange(400) // 200
    parts = {"train": np.arange(150), "validation": np.arange(150, 250)}
    first = audit_split(np.random.default_rng(0).normal(size=(400, 5)), labels, parts=parts)[0]
    assert (first.code, first.severity, first.evidence["classes"]) == ("split.unseen_class", "blocker", ["1"])


def test_the_smallest_difference_is_two_standard_errors_and_folds_are_proposed_where_it_is_coarse() -> None:
    assert smallest_difference(0.9, 900) == pytest.approx(0.02)
    inputs, labels, parts = loaded("breast_cancer")
    coarse = by_code(audit_split(inputs, labels, parts=parts))["split.resolution"]
    assert coarse.sentence.startswith("91 validation samples resolve differences of 6.3 points")
    assert "folds: 5" in coarse.remedy
    fine = by_code(
        audit_split(np.eye(2000), np.arange(2000) % 2, parts={"train": [0, 1], "validation": range(2, 2000)})
    )
    assert fine["split.resolution"].severity == "note"


def test_groups_and_times_on_both_sides_are_found_and_a_split_by_them_is_clean() -> None:
    generator = np.random.default_rng(0)
    inputs, labels = generator.normal(size=(600, 5)), generator.integers(0, 2, 600)
    columns = {"patient": generator.integers(0, 60, 600), "day": np.arange(600)}
    for kind, name, severity in (("group", "patient", "blocker"), ("time", "day", "warning")):
        leaky = split_indices(labels, DataSpec())
        clean = split_indices(labels, DataSpec.parse({kind: name}), columns=columns)
        codes = []
        for split in (leaky, clean):
            parts = {"train": split.train, "validation": split.validation}
            codes.append(by_code(audit_split(inputs, labels, parts=parts, columns={kind: columns[name]})))
        assert codes[0][f"split.{kind}_leak"].severity == severity
        assert f"split.{kind}_leak" not in codes[1]


def test_shares_that_are_unusual_are_noted() -> None:
    parts = {"train": np.arange(50), "validation": np.arange(50, 100)}
    found = by_code(audit_split(np.random.default_rng(0).normal(size=(100, 9)), np.arange(100) % 2, parts=parts))
    assert found["split.share"].sentence.startswith("50% of the samples are for training (50 of 100)")


def test_labels_with_fractions_have_no_classes() -> None:
    generator = np.random.default_rng(0)
    parts = {"train": np.arange(80), "validation": np.arange(80, 100)}
    found = by_code(audit_split(generator.normal(size=(100, 9)), generator.normal(size=100), parts=parts))
    assert not {"split.few_of_class", "split.unseen_class"} & found.keys()


def test_an_empty_part_is_refused(digits: tuple[Array, Array, dict[str, Array]]) -> None:
    with pytest.raises(SplitError, match="the part 'validation' is empty"):
        audit_split(digits[0], digits[1], parts={"train": digits[2]["train"]})
    with pytest.raises(SplitError, match="7 inputs, but 1797 labels"):
        audit_split(digits[0][:7], digits[1], parts=digits[2])
