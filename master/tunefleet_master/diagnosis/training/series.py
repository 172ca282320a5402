"""What a trial reported under one name, as arrays that rules can look at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Steps = NDArray[np.int64]

MAX_WINDOWS = 40
"""A longer series is averaged in so many windows: a loss that is reported for each batch jumps at every report, and
what a rule asks is whether it jumps from one part of the training to the next."""

MAX_PART = 20_000  # samples that a validation part is looked for to have
MIN_SHARES = 3  # different ones; two are shares of some number of samples too often by chance
ROUNDING = 1e-7  # of a share that was computed with 32 bits

TRAIN, VALIDATION = "train", "validation"
_SIDES = (
    (TRAIN, re.compile(r"^(?:train|training)[_./@-](?=.)", re.IGNORECASE)),
    (VALIDATION, re.compile(r"^(?:val|valid|validation|eval|dev)[_./@-](?=.)", re.IGNORECASE)),
)
_WORDS = re.compile(r"[_./@-]+")
_LOSSES = frozenset(
    {"loss", "nll", "ce", "entropy", "mse", "rmse", "mae", "error", "err", "perplexity", "ppl", "brier"}
)
_LOWER = _LOSSES | {"ece", "wer", "cer", "latency", "time", "s", "ms", "bytes", "size"}
_HIGHER = frozenset(
    {
        "accuracy",
        "acc",
        "auc",
        "auroc",
        "f1",
        "r2",
        "score",
        "precision",
        "recall",
        "map",
        "miou",
        "iou",
        "bleu",
        "reward",
    }
)


def side_of(name: str) -> tuple[str | None, str]:
    """Whether a metric is one of training or of validation, None for neither, and what it is called beside that."""
    for side, prefix in _SIDES:
        if prefix.match(name):
            return side, prefix.sub("", name).lower()
    return None, name.lower()


def lower_is_better(name: str) -> bool | None:
    """Whether a metric of this name is one to minimise; None: its name does not say."""
    words = _words(name)
    if words & _HIGHER:
        return False
    return True if words & _LOWER else None


def is_loss(name: str) -> bool:
    """Whether a metric is what training minimises, by its name."""
    return bool(_words(name) & _LOSSES) and not _words(name) & _HIGHER


def is_accuracy(name: str) -> bool:
    """Whether a metric is a share of samples that are classified right, by its name."""
    return bool(_words(name) & {"accuracy", "acc"}) and not any("top" in word for word in _words(name))


def _words(name: str) -> set[str]:
    return set(_WORDS.split(side_of(name)[1]))


@dataclass(frozen=True)
class Series:
    """One metric over the steps.

    Attributes:
        name: as it was reported.
        steps: (n,) rising.
        values: (n,) NaN and infinity among them, where they were reported.
    """

    name: str
    steps: Steps
    values: Values

    @classmethod
    def of(cls, name: str, points: Iterable[tuple[int, Mapping[str, float]]]) -> Self:
        """The values of a metric at the steps at which it was reported."""
        found = [(step, metrics[name]) for step, metrics in points if name in metrics]
        steps, values = zip(*found, strict=True) if found else ((), ())
        return cls(name, np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64))

    def __len__(self) -> int:
        """How many reports have it."""
        return len(self.values)

    @cached_property
    def numbers(self) -> Self:
        """Without what is no number, in at most 40 windows; the step of a window is its last one."""
        finite = np.isfinite(self.values)
        steps, values = self.steps[finite], self.values[finite]
        if len(values) > MAX_WINDOWS:
            windows = np.array_split(np.arange(len(values)), MAX_WINDOWS)
            values = np.array([values[window].mean() for window in windows])
            steps = np.array([steps[window[-1]] for window in windows])
        return type(self)(self.name, steps, values)

    @cached_property
    def finest(self) -> Self:
        """Every number, not averaged."""
        finite = np.isfinite(self.values)
        return type(self)(self.name, self.steps[finite], self.values[finite])

    def tail(self, share: float, *, least: int = 3) -> Values:
        """The last values: a share of them, and at least so many if there are."""
        return self.values[-max(least, round(share * len(self))) :]


def between(train: Series, validation: Series) -> Values:
    """(n,): what training measured about each point of validation, NaN where it did not.

    A training metric is mostly the mean over an epoch, that is of the weights half an epoch before. So it is the mean
    of what was reported up to each validation and of what was reported from there to the next.
    """
    edges = np.searchsorted(train.steps, validation.steps, side="right")
    starts = np.concatenate([[0], edges[:-1]])
    means = np.array(
        [train.values[a:b].mean() if b > a else np.nan for a, b in zip(starts, edges, strict=True)], dtype=np.float64
    )
    following = np.concatenate([means[1:], means[-1:]])
    return np.where(np.isnan(following), means, (means + following) / 2)


def sample_size(shares: Values) -> int | None:
    """The least number of samples that all these shares can be of: 0.26 and 0.5 are of 50; None: of none up to 20 000.

    A share of right answers is a whole number of samples. A mean over batches of unequal size is not, and tells
    nothing.
    """
    distinct = np.unique(shares[(shares > 0) & (shares < 1)])[:MAX_WINDOWS]
    if len(distinct) < MIN_SHARES:
        return None
    sizes = np.arange(2, MAX_PART)
    for share in distinct:
        counts = sizes * share
        sizes = sizes[np.abs(counts - np.round(counts)) <= ROUNDING * sizes]
    return int(sizes[0]) if len(sizes) else None
