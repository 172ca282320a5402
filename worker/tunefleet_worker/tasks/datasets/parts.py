"""The parts of a data set: those for training, and the test part, which stays sealed until the end.

`open_test_part` is the only function that returns test samples. Training never calls it, and it raises an error in the
process of a trial. A test part in a file of its own is not even read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from tunefleet.data.one_fold import split_for_fold
from tunefleet.data.seal import log_opening
from tunefleet.model import Model, did_you_mean
from tunefleet.study.spec import DataSpec
from tunefleet_worker.tasks.datasets.digits import digits
from tunefleet_worker.tasks.datasets.fashion_mnist import fashion_mnist
from tunefleet_worker.tasks.datasets.mnist1d import mnist1d
from tunefleet_worker.tasks.datasets.source import DataUnavailable, Raw, Source
from tunefleet_worker.tasks.datasets.split import Split, split_indices
from tunefleet_worker.tasks.datasets.tables import breast_cancer, wine
from tunefleet_worker.training.samples import Samples

TEST_SHARE = 0.2  # of a data set without an official test part

DATASETS: Mapping[str, Callable[[str | None], Source]] = MappingProxyType(
    {
        "digits": lambda _folder: digits(),
        "mnist1d": lambda _folder: mnist1d(),
        "fashion_mnist": fashion_mnist,
        "wine": lambda _folder: wine(),
        "breast_cancer": lambda _folder: breast_cancer(),
    }
)
"""The built-in data sets by name. Each takes the folder of its files; only data sets in files read it."""


class DataChoice(Model):
    """A data set and its division: enough to load exactly the same parts again."""

    dataset: str
    folder: str | None = None
    """The folder of the files, for data sets in files."""
    spec: DataSpec = DataSpec()
    fold: int | None = None
    """The fold of `spec.folds` that is held out; None: there are no folds, and `spec.split` divides the data."""


class Standardisation(Model):
    """The mean and the standard deviation of each channel of the training part."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, inputs: Tensor) -> Standardisation:
        """Return the statistics of inputs (n, channels, ...). A constant channel gets the deviation 1."""
        channels = inputs.transpose(0, 1).flatten(1).to(torch.float64)
        std = channels.std(dim=1, correction=0)
        return cls(mean=tuple(channels.mean(dim=1).tolist()), std=tuple(torch.where(std > 0, std, 1.0).tolist()))

    def apply(self, samples: Samples) -> Samples:
        """Return samples with every channel shifted and scaled by these statistics."""
        shape = (1, -1, *[1] * (samples.inputs.dim() - 2))
        mean, std = (torch.tensor(values, dtype=torch.float32).reshape(shape) for values in (self.mean, self.std))
        return Samples((samples.inputs - mean) / std, samples.labels)


@dataclass(frozen=True)
class TrainingParts:
    """The training and the validation part. Inputs are not standardised yet."""

    train: Samples
    validation: Samples
    classes: tuple[str, ...]
    standardisation: Standardisation
    validation_ids: Tensor
    """Positions of the validation part's samples in the data set, int64 (n,)."""


def load_training_parts(choice: DataChoice) -> TrainingParts:
    """Return the training and the validation part, and the statistics of the training part.

    Raises:
        DataUnavailable: the data set is unknown, not installed, or unreadable.
        SplitError: the data set is too small for the split.
    """
    source = _source(choice)
    raw = _opened(source)
    split = _split(source, raw, choice)
    train = raw.take(split.train)
    return TrainingParts(
        train=train,
        validation=raw.take(split.validation),
        classes=source.classes,
        standardisation=Standardisation.of(train.inputs),
        validation_ids=split.validation,
    )


def open_test_part(choice: DataChoice) -> Samples:
    """Open the test part. Call this once, at the very end, for a model that was chosen without it.

    Raises:
        TestPartSealed: the caller is a trial of a search.
        DataUnavailable: the data set is unknown, not installed, or unreadable.
    """
    log_opening(choice.dataset)
    source = _source(choice)
    if source.open_test is not None:
        return source.open_test().all()
    raw = _opened(source)
    return raw.take(_split(source, raw, choice).test)


def _split(source: Source, raw: Raw, choice: DataChoice) -> Split:
    split = split_indices(raw.labels, choice.spec, test=TEST_SHARE if source.open_test is None else 0.0)
    return split if choice.fold is None else _folded(split, raw, choice.spec, fold=choice.fold)


def _folded(split: Split, raw: Raw, spec: DataSpec, *, fold: int) -> Split:
    """Keep the test part, and hold out one fold of the other samples. A smaller subset lies within a larger one."""
    labels = raw.labels.numpy()
    rest = np.setdiff1d(np.arange(len(labels)), split.test.numpy())
    train, validation = (rest[positions] for positions in split_for_fold(labels[rest], spec, fold=fold))
    return Split(train=torch.from_numpy(train), validation=torch.from_numpy(validation), test=split.test)


def _source(choice: DataChoice) -> Source:
    if choice.dataset not in DATASETS:
        raise DataUnavailable(f"there is no data set {choice.dataset!r}{did_you_mean(choice.dataset, list(DATASETS))}.")
    return _sources(choice.dataset, choice.folder)


@cache
def _sources(dataset: str, folder: str | None) -> Source:
    return DATASETS[dataset](folder)


@cache
def _opened(source: Source) -> Raw:
    """Read the samples, once per process."""
    return source.open()
