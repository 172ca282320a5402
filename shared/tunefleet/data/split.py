"""Splits into training, validation and sealed test part, by the rules of a study's `data`.

============  ========================================================================================================
`stratify`    each part has every class in its share, to within one or two samples; without it the parts are random
`group`       no group is in two parts; sizes and class counts are as near to their shares as whole groups allow
`time`        validation is later than training; the test part is later than both
hashed ids    the part of a sample depends only on its id and the seed, so adding samples never moves old ones
============  ========================================================================================================

No method keeps both exact shares and the part of each sample when samples are added. With hashed ids, the sizes of
parts and class counts have a standard deviation of √(n share (1 - share)) samples. Without them, the shares are exact,
and adding samples gives a different split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tunefleet.data.columns import Positions, SplitError, read_classes, read_column
from tunefleet.data.dealing import deal_groups
from tunefleet.data.order import stratified_order
from tunefleet.data.seal import log_opening
from tunefleet.model import did_you_mean
from tunefleet.study.spec import DataSpec


@dataclass(frozen=True)
class Split:
    """Positions of samples, each int64 (n,). No position is in two parts."""

    train: Positions
    validation: Positions
    sealed: Positions = field(repr=False)
    """The test part; read it with `open_test`, which logs the access."""

    def open_test(self) -> Positions:
        """Open the test part. Call it once, at the very end, for a model that was chosen without it.

        Raises:
            TestPartSealed: the process runs a trial of a search.
        """
        log_opening(f"{len(self.sealed)} samples")
        return self.sealed


def split_indices(
    labels: ArrayLike,
    spec: DataSpec,
    *,
    test: float = 0.0,
    columns: Mapping[str, ArrayLike] = MappingProxyType({}),
    ids: Iterable[object] | None = None,
) -> Split:
    """Split samples by the rules and the seed of the spec; no global generator is used.

    The test part depends only on the seed and on `test`. The validation part depends on these and on its share. So
    neither changes with `split.train` or `subset`, and a smaller subset is contained in a larger one.

    Args:
        labels: one label for each sample (n,).
        spec: a study's `data`; in a training function `trial.data`.
        test: the share of all samples for the test part; 0 if the test part is a separate data set.
        columns: the columns that `spec.group` and `spec.time` may name, each with one value for each sample (n,).
        ids: one id for each sample (n,), to be hashed as text. With `spec.group`, groups are hashed instead.

    Raises:
        SplitError: the validation part would be empty, the training part would be smaller than the number of classes,
            or the spec names a column that is not given.
    """
    names, classes = read_classes(labels)
    strata = classes if spec.stratify else np.zeros_like(classes)
    groups = None if spec.group is None else _column(columns, "group", spec.group, len(classes))
    if spec.time is not None:
        _refuse_ids(ids)
        split = _by_time(_column(columns, "time", spec.time, len(classes)), strata, spec, test=test)
    elif ids is not None:
        hashed = read_column(list(ids), name="ids", n_samples=len(classes)) if groups is None else groups
        split = _by_hash(hashed, spec, test=test)
    elif groups is not None:
        split = _by_group(groups, strata, spec, test=test)
    else:
        split = _by_order(strata, spec, test=test)
    _check(split, n_classes=len(names) if spec.stratify else 1)
    return split


def _by_order(strata: Positions, spec: DataSpec, *, test: float) -> Split:
    order = stratified_order(strata, spec.seed)
    n_test = round(test * len(order))
    sealed, rest = order[:n_test], order[n_test:]
    n_validation = round(spec.split.validation * len(rest))
    held_out, pool = rest[:n_validation], rest[n_validation:]
    return Split(_subset(pool[: round(spec.split.train * len(rest))], spec), held_out, sealed)


def _by_group(groups: NDArray[Any], strata: Positions, spec: DataSpec, *, test: float) -> Split:
    """Separate the test part first, so that it does not change with the other shares."""
    _, codes = read_classes(groups, name="groups")
    sealed, rest = _dealt_off(np.arange(len(codes)), codes, strata, share=test, seed=spec.seed)
    held_out, pool = _dealt_off(rest, codes, strata, share=spec.split.validation, seed=spec.seed)
    ordered = pool[stratified_order(strata[pool], spec.seed)]
    return Split(_subset(ordered[: _n_train(len(pool), spec)], spec), held_out, sealed)


def _dealt_off(
    samples: Positions, groups: Positions, strata: Positions, *, share: float, seed: int
) -> tuple[Positions, Positions]:
    part = deal_groups(groups[samples], strata[samples], shares=[share, 1 - share], seed=seed)
    return samples[part == 0], samples[part == 1]


def _by_time(times: NDArray[Any], strata: Positions, spec: DataSpec, *, test: float) -> Split:
    """Cut the samples by time. Samples with equal times all go to the later part."""
    _, ranks = read_classes(times, name="times")
    order = np.argsort(ranks, kind="stable")
    n_rest = len(order) - round(test * len(order))
    at_test = _first_of_its_time(ranks[order], n_rest)
    at_validation = _first_of_its_time(ranks[order], at_test - round(spec.split.validation * n_rest))
    newest = order[at_validation - _n_train(at_validation, spec) : at_validation]
    pool = newest[stratified_order(strata[newest], spec.seed)]
    return Split(_subset(pool, spec), order[at_validation:at_test], order[at_test:])


def _n_train(n_pool: int, spec: DataSpec) -> int:
    """Return the number of training samples in a pool, whose size can differ from its share."""
    return round(n_pool * min(1.0, spec.split.train / (1 - spec.split.validation)))


def _first_of_its_time(ranks: Positions, cut: int) -> int:
    return cut if cut >= len(ranks) else int(np.searchsorted(ranks, ranks[max(cut, 0)]))


def _by_hash(ids: NDArray[Any], spec: DataSpec, *, test: float) -> Split:
    """Map every id to a number from 0 to 1; the parts are intervals."""
    places = np.array([_place(value, spec.seed) for value in ids.tolist()])
    end_validation = test + (1 - test) * spec.split.validation
    end_train = end_validation + (1 - test) * spec.split.train * spec.subset
    part = np.digitize(places, [test, end_validation, end_train])
    return Split(*(np.flatnonzero(part == which) for which in (2, 1, 0)))


def _place(value: object, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}:{value}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _subset(pool: Positions, spec: DataSpec) -> Positions:
    return pool[: round(spec.subset * len(pool))]


def _column(columns: Mapping[str, ArrayLike], key: str, name: str, n_samples: int) -> NDArray[Any]:
    if name not in columns:
        offer = did_you_mean(name, list(columns)) if columns else "; this data has none"
        raise SplitError(
            f"data.{key} is {name!r}, but there is no such column{offer}.",
            hint=f"Give it with the labels: split_indices(labels, trial.data, columns={{{name!r}: ...}}).",
        )
    return read_column(columns[name], name=f"the column {name!r}", n_samples=n_samples)


def _refuse_ids(ids: Iterable[object] | None) -> None:
    if ids is not None:
        raise SplitError(
            "data.time and ids are both given, but a split by time does not hash ids.",
            hint="Leave out the ids, or data.time.",
        )


def _check(split: Split, *, n_classes: int) -> None:
    if len(split.validation) == 0 or len(split.train) < n_classes:
        classes = f"{n_classes} classes" if n_classes > 1 else "a study"
        raise SplitError(
            f"{len(split.train)} samples for training and {len(split.validation)} for validation are too few for "
            f"{classes}.",
            hint="Raise data.subset, or the shares in data.split. If labels are not classes, set data.stratify to "
            "false. A split by group or time needs many distinct values.",
        )
