"""Which samples are for training, for validation and for the sealed test part, as a study's `data` says.

============  ========================================================================================================
`stratify`    each part holds every class in its share, to within a sample or two; without it the parts are random
`group`       no group is in two parts, which are as near to their shares, of each class too, as whole groups allow
`time`        validation is later than training, and the test part later than both
hashed ids    a sample's part depends on its own id and the seed alone, so that adding samples never moves old ones
============  ========================================================================================================

Nothing can keep both exact shares and every sample's place when others are added. With hashed ids the shares, of the
whole and of each class, hold to within chance: a standard deviation of √(n share (1 - share)) samples. Without, they
hold exactly, and adding samples gives another split.
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
    """Positions of samples, each int64 (n,); no position is in two parts."""

    train: Positions
    validation: Positions
    sealed: Positions = field(repr=False)
    """The test part; read it with `open_test`, which leaves a line in the log."""

    def open_test(self) -> Positions:
        """Unseal the test part. Call it once, at the very end, for a model that was chosen without it.

        Raises:
            TestPartSealed: a trial of a search asks.
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
    """Divide samples as the spec says, by its seed alone; no global generator is used.

    The test part depends on the seed and on `test`; the validation part on these and on its share in the rest. So
    neither moves when `split.train` or `subset` changes, and a smaller subset lies within a larger one.

    Args:
        labels: one for each sample (n,).
        spec: a study's `data`; in a training function `trial.data`.
        test: the share of all that is set aside first; 0 where the test part is a set of its own.
        columns: what `spec.group` and `spec.time` may name, each with one value for each sample (n,).
        ids: one for each sample (n,), to be hashed as text; where `spec.group` is given, groups are hashed instead.

    Raises:
        SplitError: the validation part would be empty, or the training part smaller than the number of classes; or the
            spec names a column that is not given.
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
    """Deal the test part off first, so that it stays where it is when the other shares change."""
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
    """Cut the samples in the order of their times; where equal times would be parted, all go to the later part."""
    _, ranks = read_classes(times, name="times")
    order = np.argsort(ranks, kind="stable")
    n_rest = len(order) - round(test * len(order))
    at_test = _first_of_its_time(ranks[order], n_rest)
    at_validation = _first_of_its_time(ranks[order], at_test - round(spec.split.validation * n_rest))
    newest = order[at_validation - _n_train(at_validation, spec) : at_validation]
    pool = newest[stratified_order(strata[newest], spec.seed)]
    return Split(_subset(pool, spec), order[at_validation:at_test], order[at_test:])


def _n_train(n_pool: int, spec: DataSpec) -> int:
    """How many of what is not held out are trained on; whole groups and times make it more or fewer than planned."""
    return round(n_pool * min(1.0, spec.split.train / (1 - spec.split.validation)))


def _first_of_its_time(ranks: Positions, cut: int) -> int:
    return cut if cut >= len(ranks) else int(np.searchsorted(ranks, ranks[max(cut, 0)]))


def _by_hash(ids: NDArray[Any], spec: DataSpec, *, test: float) -> Split:
    """Every id has a place on the line from 0 to 1, and the parts are stretches of it."""
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
            f"data.{key} is {name!r}, and there is no such column{offer}.",
            hint=f"Give it with the labels: split_indices(labels, trial.data, columns={{{name!r}: ...}}).",
        )
    return read_column(columns[name], name=f"the column {name!r}", n_samples=n_samples)


def _refuse_ids(ids: Iterable[object] | None) -> None:
    if ids is not None:
        raise SplitError(
            "data.time orders the samples, so that later ones move the split, and ids would be hashed in vain.",
            hint="Leave out the ids, or data.time.",
        )


def _check(split: Split, *, n_classes: int) -> None:
    if len(split.validation) == 0 or len(split.train) < n_classes:
        classes = f"{n_classes} classes" if n_classes > 1 else "a study"
        raise SplitError(
            f"{len(split.train)} samples for training and {len(split.validation)} for validation are too few for "
            f"{classes}.",
            hint="Raise data.subset, or the shares in data.split; set data.stratify to false where labels are no "
            "classes; groups and times have to be many.",
        )
