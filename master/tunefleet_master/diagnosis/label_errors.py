"""Confident learning: which labels are wrong, by what models say that have not seen them (needs numpy, nothing else).

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", J. Artif. Intell. Res.
70, https://arxiv.org/abs/1911.00068. Notation: n samples, k classes, y the labels as given, p (n, k) probabilities of
models that were not trained on the sample: of held-out folds, or of a validation part.

- The threshold of class j is its mean confidence: t_j = mean of p[i, j] over the samples i with y_i = j (equation 2).
- Sample i counts as of class j when p[i, j] >= t_j; of several such classes, the likeliest. The counts of given
  and found are the confident joint (equation 1); those off its diagonal are suspected errors.
- Rows of the joint are scaled to the counts of the given labels (equation 3); what is off the diagonal then is the
  estimated share of wrong labels.
- The order is by margin, max_j p[i, j] - p[i, y_i]: the paper's normalised margin, the suspicious first.

Departure: in the paper's code the thresholds are of the raw probabilities, as here; it then prunes the estimated number
of each pair. We rank all and flag by the confident joint, since a person looks before anything is changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tunefleet.errors import InvalidInput, Problem

SUM_TOLERANCE = 0.02


@dataclass(frozen=True)
class LabelErrors:
    """What is suspected.

    Attributes:
        order: int64 (n,); positions of samples, the most suspicious first; of equal margins the first sample.
        margin: float64 (n,), from 0 to 1; 0: the label is the likeliest class.
        suggested: int64 (n,); the class that the sample counts as of, the likeliest where it counts as of none.
        is_suspected: bool (n,); the sample counts as of another class than its label.
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
        labels: (n,), whole numbers from 0 to k - 1.
        probabilities: (n, k), each row a distribution, of models that were not trained on the row's sample.

    Raises:
        InvalidInput: the shapes do not fit, a label is no class, or a row is no distribution.
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
    """The mean confidence (k,) in each class of the samples that have its label; above 1, where there is none."""
    sizes = np.bincount(given, minlength=p.shape[1])
    sums = np.bincount(given, weights=p[np.arange(len(p)), given], minlength=p.shape[1])
    return np.asarray(np.where(sizes > 0, sums / np.maximum(sizes, 1), 2.0))


def _joint(given: NDArray[np.int64], found: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The calibrated joint (k, k) of given and true classes; a class that nothing counts as of is taken as it is."""
    joint = np.zeros((len(sizes), len(sizes)))
    np.add.at(joint, (given, found), 1.0)
    empty = joint.sum(axis=1) == 0
    joint[empty, empty] = 1.0
    joint *= (sizes / joint.sum(axis=1))[:, None] / sizes.sum()
    return joint


def _check(given: NDArray[np.generic], p: NDArray[np.float64]) -> None:
    if p.ndim != 2 or p.shape[1] < 2 or len(p) == 0:
        raise InvalidInput([Problem("probabilities", f"must be (samples, classes), and the shape is {p.shape}")])
    if given.shape != (len(p),):
        raise InvalidInput([Problem("labels", f"must be ({len(p)},), as many as rows, and the shape is {given.shape}")])
    if given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= p.shape[1]:
        raise InvalidInput([Problem("labels", f"must be whole numbers from 0 to {p.shape[1] - 1}")])
    wrong = ~np.isfinite(p).all(axis=1) | (p < 0).any(axis=1) | (np.abs(p.sum(axis=1) - 1) > SUM_TOLERANCE)
    if wrong.any():
        rule = f"row {int(wrong.argmax())} is no distribution: its values must be at least 0 and sum to 1"
        raise InvalidInput([Problem("probabilities", rule)])
