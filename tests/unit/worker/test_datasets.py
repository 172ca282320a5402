"""The built-in data sets match their sources, and their test parts stay sealed."""

from __future__ import annotations

import ast
import gzip
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

import tunefleet_worker
from tunefleet.catalogue.tasks import TASKS
from tunefleet.data.columns import SplitError
from tunefleet.data.seal import SEAL, SEALED, TestPartSealed
from tunefleet.study.spec import DataSpec
from tunefleet_worker.tasks.datasets.fashion_mnist import CLASSES, find_folder, read_idx
from tunefleet_worker.tasks.datasets.mnist1d import cache_folder, mnist1d
from tunefleet_worker.tasks.datasets.parts import DataChoice, Standardisation, load_training_parts, open_test_part
from tunefleet_worker.tasks.datasets.source import DataUnavailable
from tunefleet_worker.training.samples import Samples

DIGITS = DataChoice(dataset="digits")


@pytest.mark.parametrize("dataset", ["digits", "mnist1d", "wine", "breast_cancer"])
def test_the_master_knows_how_small_the_smallest_class_is(dataset: str) -> None:
    parts = load_training_parts(DataChoice(dataset=dataset))
    labels = torch.cat([parts.train.labels, parts.validation.labels])
    known = TASKS["image_classification"].smallest_class({"dataset": dataset})
    assert torch.bincount(labels).min().item() == known


def rows(samples: Samples) -> set[bytes]:
    return {row.numpy().tobytes() for row in samples.inputs}


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def clothes(tmp_path: Path) -> Path:
    """A folder with a small fashion_mnist, and no test part."""
    generator = np.random.default_rng(0)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", generator.integers(0, 256, (200, 28, 28)))
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(200) % 10)
    return tmp_path


def test_digits_are_those_of_scikit_learn() -> None:
    parts, test = load_training_parts(DIGITS), open_test_part(DIGITS)
    theirs = load_digits()
    ours = torch.cat([parts.train.inputs, parts.validation.inputs, test.inputs])
    labels = torch.cat([parts.train.labels, parts.validation.labels, test.labels])
    images = torch.from_numpy(theirs.images).float() / 16
    ordered = sorted((image.tolist(), label) for image, label in zip(ours[:, 0], labels.tolist(), strict=True))
    assert ordered == sorted((image.tolist(), label) for image, label in zip(images, theirs.target, strict=True))
    assert ours.dtype == torch.float32
    assert labels.dtype == torch.int64


@pytest.mark.parametrize(("name", "theirs"), [("wine", load_wine), ("breast_cancer", load_breast_cancer)])
def test_tables_are_those_of_scikit_learn_with_each_feature_standardised_on_its_own(name: str, theirs: Any) -> None:
    choice = DataChoice(dataset=name)
    parts, test = load_training_parts(choice), open_test_part(choice)
    every = torch.cat([parts.train.inputs, parts.validation.inputs, test.inputs]).squeeze(2)
    assert sorted(every.tolist()) == sorted(torch.from_numpy(theirs().data).float().tolist())
    labels = torch.cat([parts.train.labels, parts.validation.labels, test.labels])
    assert labels.bincount().tolist() == np.bincount(theirs().target).tolist()
    assert len(parts.classes) == int(labels.max()) + 1
    standardised = parts.standardisation.apply(parts.train).inputs
    assert standardised.mean(dim=0).abs().max() < 1e-4
    assert standardised.std(dim=0, correction=0).sub(1).abs().max() < 1e-3


def test_small_data_sets_are_read_without_importing_scikit_learn() -> None:
    code = (
        "import sys; from tunefleet_worker.tasks.datasets.parts import *;"
        "[load_training_parts(DataChoice(dataset=name)) for name in ('digits', 'wine', 'breast_cancer')];"
        "sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digits_for_the_test_are_in_no_training_part() -> None:
    parts, test = load_training_parts(DIGITS), open_test_part(DIGITS)
    assert (len(parts.train), len(parts.validation), len(test)) == (1150, 288, 359)
    assert not rows(test) & (rows(parts.train) | rows(parts.validation))


def test_statistics_come_from_the_training_part_alone() -> None:
    parts = load_training_parts(DIGITS)
    assert parts.standardisation.mean == pytest.approx([parts.train.inputs.double().mean().item()])
    assert parts.standardisation.std == pytest.approx([parts.train.inputs.double().std(correction=0).item()])
    standardised = parts.standardisation.apply(parts.train).inputs
    assert standardised.mean().item() == pytest.approx(0, abs=1e-5)
    assert standardised.std().item() == pytest.approx(1, abs=1e-3)


def test_statistics_follow_the_subset() -> None:
    whole = load_training_parts(DIGITS)
    tenth = load_training_parts(DataChoice(dataset="digits", spec=DataSpec(subset=0.1)))
    assert tenth.standardisation != whole.standardisation
    assert torch.equal(tenth.validation.inputs, whole.validation.inputs)


def test_channels_are_standardised_apart_and_a_constant_one_is_only_shifted() -> None:
    inputs = torch.stack([torch.arange(6.0).reshape(3, 2), torch.full((3, 2), 5.0)], dim=1)
    statistics = Standardisation.of(inputs)
    standardised = statistics.apply(Samples(inputs, torch.zeros(3, dtype=torch.int64))).inputs
    assert statistics.std[1] == 1.0
    assert standardised[:, 0].std(correction=0).item() == pytest.approx(1)
    assert standardised[:, 1].abs().max() == 0


def test_mnist1d_is_as_its_package_makes_it_and_leaves_the_generators_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mnist1d.data import get_dataset_args, make_dataset

    monkeypatch.setenv("TUNEFLEET_CACHE", str(tmp_path / "cache"))
    theirs = make_dataset(get_dataset_args())
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002
    drawn = random.random(), float(np.random.rand())  # noqa: NPY002
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002

    source = mnist1d()
    assert source.open_test is not None
    made, cached, test = source.open(), source.open(), source.open_test()

    assert (random.random(), float(np.random.rand())) == drawn  # noqa: NPY002
    assert made.values.shape == (4000, 1, 40)
    assert np.array_equal(made.values[:, 0].numpy(), theirs["x"].astype(np.float32))
    assert np.array_equal(test.values[:, 0].numpy(), theirs["x_test"].astype(np.float32))
    assert np.array_equal(test.labels.numpy(), theirs["y_test"])
    assert torch.equal(cached.values, made.values)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_cache_is_where_the_environment_says() -> None:
    assert cache_folder({"TUNEFLEET_CACHE": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert cache_folder({"XDG_CACHE_HOME": "/b"}) == Path("/b/tunefleet")
    assert cache_folder({}) == Path.home() / ".cache" / "tunefleet"


def test_fashion_mnist_is_read_from_a_folder(clothes: Path) -> None:
    parts = load_training_parts(DataChoice(dataset="fashion_mnist", folder=str(clothes)))
    assert parts.train.inputs.shape == (160, 1, 28, 28)
    assert parts.train.inputs.max() <= 1.0
    assert parts.classes == CLASSES
    assert parts.validation.labels.bincount().tolist() == [4] * 10


def test_training_needs_no_test_files_and_the_test_part_does(clothes: Path) -> None:
    choice = DataChoice(dataset="fashion_mnist", folder=str(clothes))
    load_training_parts(choice)
    with pytest.raises(DataUnavailable, match=r"lacks .*t10k-images-idx3-ubyte"):
        open_test_part(choice)
    write_idx(clothes / "t10k-images-idx3-ubyte", np.full((5, 28, 28), 255))
    write_idx(clothes / "t10k-labels-idx1-ubyte", np.array([3, 1, 4, 1, 5]))
    test = open_test_part(choice)
    assert test.labels.tolist() == [3, 1, 4, 1, 5]
    assert test.inputs.eq(1.0).all()


def test_fashion_mnist_is_found_in_the_data_folder_or_in_that_of_debian(clothes: Path) -> None:
    data = clothes.parent / "data"
    data.mkdir()
    (data / "fashion-mnist").symlink_to(clothes)
    assert find_folder(None, {"TUNEFLEET_DATA": str(data)}, installed=Path("/absent")) == data / "fashion-mnist"
    assert find_folder(None, {"TUNEFLEET_DATA": "/absent"}, installed=clothes) == clothes


def test_missing_fashion_mnist_names_every_folder_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable) as caught:
        find_folder(None, {"TUNEFLEET_DATA": str(tmp_path)}, installed=tmp_path / "debian")
    assert f"{tmp_path / 'fashion-mnist'}, {tmp_path / 'debian'}" in str(caught.value)
    assert "apt-get install dataset-fashion-mnist" in str(caught.value)


def test_folder_that_is_given_is_the_only_one_searched(clothes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"searched \S*/absent for"):
        find_folder(str(tmp_path / "absent"), {}, installed=clothes)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x0d\1\0\0\0\1\0",
        b"\0\0\x08\1\0\0\0\2\0",
        b"\x1f\x8b broken",
        gzip.compress(b"\0" * 99, mtime=0)[:-9],
    ],
)
def test_file_that_is_not_idx_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content if content.startswith(b"\x1f\x8b") else gzip.compress(content))
    with pytest.raises(DataUnavailable, match=r"train-images-idx3-ubyte\.gz"):
        read_idx(path)


def test_label_without_a_class_is_refused(clothes: Path) -> None:
    write_idx(clothes / "train-labels-idx1-ubyte.gz", np.arange(200))
    with pytest.raises(DataUnavailable, match="the label 199; there are 10 classes"):
        load_training_parts(DataChoice(dataset="fashion_mnist", folder=str(clothes)))


def test_unknown_data_set_is_refused_with_what_was_meant() -> None:
    with pytest.raises(DataUnavailable, match="no data set 'digit'; did you mean 'digits'"):
        load_training_parts(DataChoice(dataset="digit"))


def test_a_trial_of_a_search_gets_no_test_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEAL, SEALED)
    load_training_parts(DIGITS)
    with pytest.raises(TestPartSealed, match="the test part of digits is sealed until the end of the search"):
        open_test_part(DIGITS)


def test_a_split_by_a_column_that_the_data_has_not_is_refused() -> None:
    with pytest.raises(SplitError, match="'patient', but there is no such column"):
        load_training_parts(DataChoice(dataset="digits", spec=DataSpec(group="patient")))


def test_only_the_evaluation_opens_the_test_part() -> None:
    root = Path(tunefleet_worker.__path__[0])
    naming = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if "open_test_part" in (getattr(node, "id", ""), getattr(node, "attr", ""), getattr(node, "name", ""))
    }
    assert naming == {"tasks/datasets/parts.py", "tasks/evaluation.py"}


def test_folds_partition_all_samples_outside_the_test_part() -> None:
    folded = [DataChoice(dataset="digits", spec=DataSpec(folds=5), fold=fold) for fold in range(5)]
    parts = [load_training_parts(choice) for choice in folded]
    assert torch.equal(open_test_part(folded[3]).inputs, open_test_part(DIGITS).inputs)
    plain = load_training_parts(DIGITS)
    n = len(plain.train.labels) + len(plain.validation.labels)
    assert [len(it.train.labels) + len(it.validation.labels) for it in parts] == [n] * 5
    held_out = torch.cat([it.validation.inputs for it in parts])
    everything = torch.cat([plain.train.inputs, plain.validation.inputs])
    assert sorted(row.numpy().tobytes() for row in held_out) == sorted(row.numpy().tobytes() for row in everything)
    counts = torch.stack([torch.bincount(it.validation.labels, minlength=10) for it in parts])
    assert int((counts.amax(0) - counts.amin(0)).max()) <= 1


def test_a_smaller_subset_of_a_fold_lies_within_a_larger_one_and_is_validated_on_the_same() -> None:
    small, large = (
        load_training_parts(DataChoice(dataset="digits", spec=DataSpec(folds=5, subset=share), fold=1))
        for share in (0.25, 0.5)
    )
    assert len(small.train.labels) * 2 == pytest.approx(len(large.train.labels), abs=1)
    assert rows(small.train) <= rows(large.train)
    assert torch.equal(small.validation.inputs, large.validation.inputs)
