"""One metric of a trial as arrays."""

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
"""A longer series is averaged in this many windows: a loss reported for each batch jumps at every report, but rules
ask about jumps from one part of the training to the next."""

MAX_PART = 20_000  # the largest size of a validation part that is inferred from shares
MIN_SHARES = 3  # distinct ones; two often fit some number of samples by chance
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
    """Split the name of a metric into its side, None without a prefix, and the rest."""
    for side, prefix in _SIDES:
        if prefix.match(name):
            return side, prefix.sub("", name).lower()
    return None, name.lower()


def lower_is_better(name: str) -> bool | None:
    """Return True if a metric of this name is minimised, False if maximised; None if the name is unknown."""
    words = _words(name)
    if words & _HIGHER:
        return False
    return True if words & _LOWER else None


def is_loss(name: str) -> bool:
    """Return True if the name is that of a loss."""
    return bool(_words(name) & _LOSSES) and not _words(name) & _HIGHER


def is_accuracy(name: str) -> bool:
    """Return True if the name is that of a top-1 accuracy."""
    return bool(_words(name) & {"accuracy", "acc"}) and not any("top" in word for word in _words(name))


def _words(name: str) -> set[str]:
    return set(_WORDS.split(side_of(name)[1]))


@dataclass(frozen=True)
class Series:
    """One metric over the steps.

    Attributes:
        name: as reported.
        steps: (n,) rising.
        values: (n,) as reported, including NaN and infinity.
    """

    name: str
    steps: Steps
    values: Values

    @classmethod
    def of(cls, name: str, points: Iterable[tuple[int, Mapping[str, float]]]) -> Self:
        """Return a metric at the steps at which it was reported."""
        found = [(step, metrics[name]) for step, metrics in points if name in metrics]
        steps, values = zip(*found, strict=True) if found else ((), ())
        return cls(name, np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64))

    def __len__(self) -> int:
        """Return the number of reports that have it."""
        return len(self.values)

    @cached_property
    def numbers(self) -> Self:
        """The finite values, averaged in at most 40 windows; the step of a window is its last one."""
        finite = np.isfinite(self.values)
        steps, values = self.steps[finite], self.values[finite]
        if len(values) > MAX_WINDOWS:
            windows = np.array_split(np.arange(len(values)), MAX_WINDOWS)
            values = np.array([values[window].mean() for window in windows])
            steps = np.array([steps[window[-1]] for window in windows])
        return type(self)(self.name, steps, values)

    @cached_property
    def finest(self) -> Self:
        """The finite values, not averaged."""
        finite = np.isfinite(self.values)
        return type(self)(self.name, self.steps[finite], self.values[finite])


def between(train: Series, validation: Series) -> Values:
    """Return what training measured around each point of validation (n,); NaN where it did not.

    A training metric is usually the mean over an epoch, that is, of weights half an epoch older. The result is
    therefore the mean of the values up to each validation and of the values from there to the next.
    """
    edges = np.searchsorted(train.steps, validation.steps, side="right")
    starts = np.concatenate([[0], edges[:-1]])
    means = np.array(
        [train.values[a:b].mean() if b > a else np.nan for a, b in zip(starts, edges, strict=True)], dtype=np.float64
    )
    following = np.concatenate([means[1:], means[-1:]])
    return np.where(np.isnan(following), means, (means + following) / 2)


def sample_size(shares: Values) -> int | None:
    """Return the least sample size that all these shares are possible for: 50 for 0.26 and 0.5; None if above 20 000.

    A share of correct answers is a whole number of samples. A mean over batches of unequal size is not, and gives no
    result.
    """
    distinct = np.unique(shares[(shares > 0) & (shares < 1)])[:MAX_WINDOWS]
    if len(distinct) < MIN_SHARES:
        return None
    sizes = np.arange(2, MAX_PART)
    for share in distinct:
        counts = sizes * share
        sizes = sizes[np.abs(counts - np.round(counts)) <= ROUNDING * sizes]
    return int(sizes[0]) if len(sizes) else None
