"""Confident learning: label errors, found with out-of-sample predictions. Requires numpy only.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", J. Artif. Intell. Res.
70, https://arxiv.org/abs/1911.00068.

Notation:
    n   samples
    k   classes
    y   (n,) the given labels
    p   (n, k) predicted probabilities, by models that were not trained on the sample (held-out folds or a
        validation part)

- The threshold of class j is its mean confidence: t_j = mean of p[i, j] over the samples i with y_i = j (equation 2).
- Sample i is assigned to class j if p[i, j] >= t_j; to the likeliest of several such classes. The counts of given and
  assigned class form the confident joint (equation 1); entries off its diagonal are suspected errors.
- Rows of the joint are scaled to the counts of the given labels (equation 3); the sum off the diagonal is then the
  estimated share of wrong labels.
- The order is by margin, max_j p[i, j] - p[i, y_i]: the paper's normalised margin, the most suspicious first.

Departure: the paper's code then prunes the estimated number of each pair, with the same thresholds of raw
probabilities. We rank all samples and flag by the confident joint, since a person reviews the labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tunefleet.errors import InvalidInput, Problem

SUM_TOLERANCE = 0.02


@dataclass(frozen=True)
class LabelErrors:
    """Suspected label errors.

    Attributes:
        order: int64 (n,); indices of samples, the most suspicious first; equal margins in the order of the samples.
        margin: float64 (n,), from 0 to 1; 0: the label is the likeliest class.
        suggested: int64 (n,); the assigned class, or the likeliest if no class is assigned.
        is_suspected: bool (n,); True if the assigned class differs from the label.
        joint: float64 (k, k), sums to 1; the estimated share of each pair of given and true class.
    """

    order: NDArray[np.int64]
    margin: NDArray[np.float64]
    suggested: NDArray[np.int64]
    is_suspected: NDArray[np.bool_]
    joint: NDArray[np.float64]

    @property
    def rate(self) -> float:
        """The estimated share of wrong labels."""
        return float(1 - np.trace(self.joint))


def find_label_errors(labels: ArrayLike, probabilities: ArrayLike) -> LabelErrors:
    """Rank samples by how suspicious their labels are.

    Args:
        labels: (n,), integers from 0 to k - 1.
        probabilities: (n, k), each row a distribution, by models that were not trained on the row's sample.

    Raises:
        InvalidInput: the shapes do not match, a label is out of range, or a row is not a distribution.
    """
    given, p = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    _check(given, p)
    given = given.astype(np.int64)
    n, k = p.shape
    at = np.arange(n)
    confident = p >= _thresholds(given, p)
    found = np.where(confident, p, -1.0).argmax(axis=1)
    counts = confident.any(axis=1)
    margin = p.max(axis=1) - p[at, given]
    return LabelErrors(
        order=np.argsort(-margin, kind="stable"),
        margin=margin,
        suggested=np.where(counts, found, p.argmax(axis=1)),
        is_suspected=counts & (found != given),
        joint=_joint(given[counts], found[counts], np.bincount(given, minlength=k)),
    )


def _thresholds(given: NDArray[np.int64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean confidence (k,) in each class over the samples with this label; 2 for a class without samples."""
    sizes = np.bincount(given, minlength=p.shape[1])
    sums = np.bincount(given, weights=p[np.arange(len(p)), given], minlength=p.shape[1])
    return np.asarray(np.where(sizes > 0, sums / np.maximum(sizes, 1), 2.0))


def _joint(given: NDArray[np.int64], found: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the calibrated joint (k, k) of given and true classes; without samples, a class counts as right."""
    joint = np.zeros((len(sizes), len(sizes)))
    np.add.at(joint, (given, found), 1.0)
    empty = joint.sum(axis=1) == 0
    joint[empty, empty] = 1.0
    joint *= (sizes / joint.sum(axis=1))[:, None] / sizes.sum()
    return joint


def _check(given: NDArray[np.generic], p: NDArray[np.float64]) -> None:
    if p.ndim != 2 or p.shape[1] < 2 or len(p) == 0:
        raise InvalidInput([Problem("probabilities", f"must have the shape (samples, classes); it has {p.shape}")])
    if given.shape != (len(p),):
        raise InvalidInput([Problem("labels", f"must have the shape ({len(p)},); it has {given.shape}")])
    if given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= p.shape[1]:
        raise InvalidInput([Problem("labels", f"must be whole numbers from 0 to {p.shape[1] - 1}")])
    wrong = ~np.isfinite(p).all(axis=1) | (p < 0).any(axis=1) | (np.abs(p.sum(axis=1) - 1) > SUM_TOLERANCE)
    if wrong.any():
        rule = f"row {int(wrong.argmax())} is not a distribution: its values must be at least 0 and sum to 1"
        raise InvalidInput([Problem("probabilities", rule)])
