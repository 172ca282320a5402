"""Which samples go where: a seeded, stratified order of a data set, from which the parts are cut one after the other.

The order is such that every stretch of it holds each class in its share of the whole, to within one sample. So a part
is a stretch, all parts are stratified, and a smaller subset is the beginning of a larger one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tunefleet.errors import TunefleetError
from tunefleet.spec import DataSpec


class SplitError(TunefleetError):
    """The data is too small to be divided as asked."""

    code = "split"


@dataclass(frozen=True)
class Split:
    """Positions of samples, each int64 (n,); no position is in two parts."""

    train: Tensor
    validation: Tensor
    test: Tensor


def split_indices(labels: Tensor, spec: DataSpec, *, test: float = 0.0) -> Split:
    """Divide samples with the labels int64 (n,) as the spec says, by its seed alone; no global generator is used.

    The test part depends on the seed and on `test`, its share in all; the validation part on these and on its share in
    the rest. So neither moves when `split.train` or `subset` changes, and a smaller subset lies within a larger one.

    Raises:
        SplitError: the validation part would be empty, or the training part smaller than the number of classes.
    """
    order = stratified_order(labels, spec.seed) if spec.stratify else _random_order(len(labels), spec.seed)
    n_test = round(test * len(order))
    sealed, rest = order[:n_test], order[n_test:]
    n_validation, n_train = round(spec.split.validation * len(rest)), round(spec.split.train * len(rest))
    held_out, pool = rest[:n_validation], rest[n_validation:][:n_train]
    kept = pool[: round(spec.subset * len(pool))]
    n_classes = len(set(labels.tolist()))
    if len(held_out) == 0 or len(kept) < n_classes:
        raise SplitError(
            f"{len(kept)} samples for training and {len(held_out)} for validation are too few for {n_classes} classes.",
            hint="Raise data.subset, or the shares in data.split.",
        )
    return Split(train=kept, validation=held_out, test=sealed)


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """A seeded order, int64 (n,), of which each beginning holds every class in its share, to within one sample.

    The p-th sample of a class with n_c samples, in random order, is placed at (p + 1/2) / n_c; so the beginning up to t
    holds round(t n_c) of them. Which class comes first among equal places is random.
    """
    shuffled = _random_order(len(labels), seed)
    places = torch.empty(len(labels), dtype=torch.float64)
    for label in sorted(set(labels.tolist())):
        members = labels[shuffled] == label
        n_members = int(members.sum())
        places[members] = (torch.arange(n_members, dtype=torch.float64) + 0.5) / n_members
    return shuffled[torch.argsort(places, stable=True)]


def _random_order(n_samples: int, seed: int) -> Tensor:
    return torch.randperm(n_samples, generator=torch.Generator().manual_seed(seed))
