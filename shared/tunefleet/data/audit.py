"""Audit of a split by its samples alone, without training.

Pure: arrays in, findings out, sorted by severity. If a sample is in two parts, the second part's score measures memory.
If a part is too small, it cannot distinguish configurations, and a choice by its score is a choice by chance.

Notation: n samples, d numbers in each; v validation samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tunefleet.data.columns import Positions, SplitError, read_classes, read_column
from tunefleet.data.duplicates import exact_duplicates, near_duplicates
from tunefleet.protocol.findings import FindingView

MAX_DUPLICATES = 0.001  # of a part; fewer change a score by less than its resolution
MIN_OF_CLASS = 10  # of validation; with fewer, one sample changes the recall of the class by over 10 points
MAX_DIFFERENCE = 0.02  # two points: the last gains of a search are of this size
TRAIN_SHARES = (0.7, 0.8)
PROPOSED_FOLDS = 5
MAX_SHOWN = 20  # positions, classes or groups in the evidence of a finding
SEVERITY_ORDER = {"blocker": 0, "warning": 1, "note": 2}
OURS = "the threshold is Tunefleet's own"


@dataclass(frozen=True)
class _Audited:
    """The validated samples of a split: inputs (n, ...), labels (n,), positions by the name of the part."""

    inputs: NDArray[Any]
    labels: NDArray[Any]
    parts: Mapping[str, Positions]
    folds: int
    accuracy: float

    @property
    def n_validated(self) -> int:
        """The number of samples that judge a configuration. With folds, each sample does so once."""
        return len(self.parts["validation"]) + (len(self.parts["train"]) if self.folds > 1 else 0)


def audit_split(
    inputs: ArrayLike,
    labels: ArrayLike,
    *,
    parts: Mapping[str, ArrayLike],
    columns: Mapping[str, ArrayLike] | None = None,
    folds: int = 1,
    accuracy: float = 0.9,
) -> list[FindingView]:
    """Return the findings about a split, sorted by severity, the most severe first.

    Args:
        inputs: (n, ...), the samples that all positions refer to.
        labels: (n,); the checks of classes are skipped for labels with fractions, as in a regression.
        parts: positions by name: `train`, `validation`, and parts that training must not see, such as `test`.
        columns: values that reveal leakage, by kind: `group` and `time`, each (n,).
        folds: the number of folds; a configuration is judged by all of them.
        accuracy: the expected accuracy of good configurations, which determines the noise of a score.

    Raises:
        SplitError: a part is empty or missing, or a column does not fit the samples.
    """
    audited = _audited(inputs, labels, parts, folds, accuracy)
    found = [*_share(audited), *_duplicates(audited), *_classes(audited), _resolution(audited)]
    for kind, values in (columns or {}).items():
        column = read_column(values, name=f"the column of {kind}", n_samples=len(audited.labels))
        found += _group_leak(audited, column) if kind == "group" else _time_leak(audited, column)
    return sorted(found, key=lambda finding: SEVERITY_ORDER[finding.severity])


def smallest_difference(accuracy: float, n_samples: int) -> float:
    """Return two standard errors of an accuracy, 2 √(p (1 - p) / n); smaller differences are chance."""
    return 2 * math.sqrt(accuracy * (1 - accuracy) / n_samples)


def _audited(
    inputs: ArrayLike, labels: ArrayLike, parts: Mapping[str, ArrayLike], folds: int, accuracy: float
) -> _Audited:
    column = read_column(labels, name="labels")
    samples = np.asarray(inputs)
    if len(samples) != len(column):
        raise SplitError(f"there are {len(samples)} inputs, but {len(column)} labels.")
    positions = {name: np.asarray(part, dtype=np.int64) for name, part in parts.items()}
    for name in ("train", "validation"):
        if len(positions.get(name, ())) == 0:
            raise SplitError(f"the part {name!r} is empty; an audit needs train and validation.")
    return _Audited(samples, column, positions, folds, accuracy)


def _share(audited: _Audited) -> Iterator[FindingView]:
    n_train, n_validation = len(audited.parts["train"]), len(audited.parts["validation"])
    share = n_train / (n_train + n_validation)
    low, high = TRAIN_SHARES
    if audited.folds == 1 and not low - 0.01 <= share <= high + 0.01:
        yield FindingView(
            code="split.share",
            severity="note",
            sentence=f"{share:.0%} of the samples are for training ({n_train} of {n_train + n_validation}); "
            f"{low:.0%} to {high:.0%} are usual.",
            remedy="Set data.split to 7:3 or 8:2, and data.subset to 1, unless this is intended.",
            source="Goodfellow et al. 2016, section 5.3",
            evidence={"train_share": share, "train": n_train, "validation": n_validation},
        )


def _duplicates(audited: _Audited) -> Iterator[FindingView]:
    for first, second in combinations(audited.parts, 2):
        seen, judged = audited.parts[first], audited.parts[second]
        exact = exact_duplicates(audited.inputs, seen, judged=judged)
        near = near_duplicates(audited.inputs, seen, judged=np.setdiff1d(judged, exact[:, 1]))
        names = f"{first} and {second}"
        yield from _duplicate_finding("split.duplicates", "the same as", names, pairs=exact, audited=audited)
        yield from _duplicate_finding("split.near_duplicates", "nearly the same as", names, pairs=near, audited=audited)


def _duplicate_finding(
    code: str, like: str, names: str, *, pairs: Positions, audited: _Audited
) -> Iterator[FindingView]:
    first, second = names.split(" and ")
    n_judged = len(audited.parts[second])
    share = len(pairs) / n_judged
    if share <= MAX_DUPLICATES:
        return
    n_contrary = int((audited.labels[pairs[:, 0]] != audited.labels[pairs[:, 1]]).sum())
    contrary = f", {n_contrary} of them with another label" if n_contrary else ""
    yield FindingView(
        code=code,
        severity="warning",
        sentence=f"{len(pairs)} of {n_judged} samples of {second} are {like} a sample of {first}{contrary}.",
        remedy=f"Remove them from {second}, or give all copies of a sample the same group, and split by data.group.",
        source=f"Barz and Denzler 2020, Do we train on test data?; {OURS}: {MAX_DUPLICATES:.1%}",
        evidence={
            "parts": [first, second],
            "count": len(pairs),
            "share": share,
            "other_label": n_contrary,
            "pairs": pairs[:MAX_SHOWN].tolist(),
        },
    )


def _classes(audited: _Audited) -> Iterator[FindingView]:
    if audited.labels.dtype.kind == "f" and np.any(audited.labels != np.round(audited.labels)):
        return
    names, codes = read_classes(audited.labels)
    counts = {name: np.bincount(codes[part], minlength=len(names)) for name, part in audited.parts.items()}
    validated = counts["validation"] + (counts["train"] if audited.folds > 1 else 0)
    unseen = [str(names[code]) for code in np.flatnonzero((counts["train"] == 0) & (validated > 0))]
    if unseen:
        yield FindingView(
            code="split.unseen_class",
            severity="blocker",
            sentence=f"{_listed(unseen)} in validation but not in training, and cannot be learned.",
            remedy="Set data.stratify to true, raise data.subset, or leave the class out.",
            source="learning a class takes samples of it",
            evidence={"classes": list(unseen[:MAX_SHOWN])},
        )
    few = {str(names[code]): int(validated[code]) for code in np.flatnonzero(validated < MIN_OF_CLASS)}
    if few:
        yield FindingView(
            code="split.few_of_class",
            severity="warning",
            sentence=f"{_listed(list(few))} in validation fewer than {MIN_OF_CLASS} times (at least "
            f"{min(few.values())}), too few to measure the recall.",
            remedy=_more_validation(audited),
            source=OURS,
            evidence={"samples": dict(list(few.items())[:MAX_SHOWN]), "classes": len(few)},
        )


def _resolution(audited: _Audited) -> FindingView:
    """Return the smallest difference that validation resolves; always reported, because it limits every search."""
    n, p = audited.n_validated, audited.accuracy
    difference = smallest_difference(p, n)
    is_coarse = difference > MAX_DIFFERENCE
    return FindingView(
        code="split.resolution",
        severity="warning" if is_coarse else "note",
        sentence=f"{n} validation samples resolve differences of {100 * difference:.1f} points between accuracies near "
        f"{p:.0%}; smaller differences are chance.",
        remedy=_more_validation(audited) if is_coarse else "Do not rank configurations by smaller differences.",
        source=f"binomial: 2 √(p (1 - p) / n); {OURS}: {100 * MAX_DIFFERENCE:.0f} points",
        evidence={"validation": n, "accuracy": p, "standard_error": difference / 2, "smallest_difference": difference},
    )


def _group_leak(audited: _Audited, groups: NDArray[Any]) -> Iterator[FindingView]:
    _, codes = read_classes(groups, name="groups")
    for first, second in combinations(audited.parts, 2):
        seen, judged = codes[audited.parts[first]], codes[audited.parts[second]]
        shared = np.intersect1d(seen, judged)
        if len(shared):
            share = float(np.isin(judged, shared).mean())
            yield FindingView(
                code="split.group_leak",
                severity="blocker",
                sentence=f"{len(shared)} groups are in both {first} and {second}, with {share:.0%} of the samples of "
                f"{second}: models are scored on groups that they know.",
                remedy="Name the column of the groups as data.group.",
                source="Kaufman et al. 2012, Leakage in Data Mining",
                evidence={"parts": [first, second], "groups": len(shared), "share": share},
            )


def _time_leak(audited: _Audited, times: NDArray[Any]) -> Iterator[FindingView]:
    _, ranks = read_classes(times, name="times")
    for first, second in combinations(audited.parts, 2):
        share = float((ranks[audited.parts[second]] <= ranks[audited.parts[first]].max()).mean())
        if share > 0:
            yield FindingView(
                code="split.time_leak",
                severity="warning",
                sentence=f"{share:.0%} of the samples of {second} are not later than all of {first}: models know the "
                "future when they predict the past.",
                remedy="Name the column of the times as data.time.",
                source="Kaufman et al. 2012, Leakage in Data Mining",
                evidence={"parts": [first, second], "share": share},
            )


def _more_validation(audited: _Audited) -> str:
    if audited.folds > 1:
        return "Get more samples."
    return f"Validate on every sample: data: {{folds: {PROPOSED_FOLDS}}}; or raise data.split.validation."


def _listed(names: list[str]) -> str:
    if len(names) == 1:
        return f"The class {names[0]} is"
    shown = ", ".join(names[:MAX_SHOWN])
    return f"{len(names)} classes ({shown}{', …' if len(names) > MAX_SHOWN else ''}) are"
