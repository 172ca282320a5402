"""What is wrong with a split, seen from the samples alone; nothing is trained.

Pure: arrays in, findings out, the gravest first. A sample that is in two parts makes the second part's score a score of
memory; a part that is too small cannot tell configurations apart, and choosing by it is choosing by chance.

Notation: n samples, d numbers in each; v samples of validation.
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

MAX_DUPLICATES = 0.001  # of a part. Fewer cannot move a score by what a score can tell
MIN_OF_CLASS = 10  # of validation: below it one sample more or less is 10 points of the class's recall
MAX_DIFFERENCE = 0.02  # two points: what tuning gains at its end is of this size
TRAIN_SHARES = (0.7, 0.8)
PROPOSED_FOLDS = 5
MAX_SHOWN = 20  # of pairs of positions, classes or groups that a finding carries
GRAVITY = {"blocker": 0, "warning": 1, "note": 2}
OURS = "the threshold is Tunefleet's own"


@dataclass(frozen=True)
class _Audited:
    """The samples of a split, checked: inputs (n, ...), labels (n,), positions by the name of the part."""

    inputs: NDArray[Any]
    labels: NDArray[Any]
    parts: Mapping[str, Positions]
    folds: int
    accuracy: float

    @property
    def n_validated(self) -> int:
        """How many samples a configuration is judged by; all folds together judge it by each sample once."""
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
    """What is to be said of a split, the gravest first.

    Args:
        inputs: (n, ...), the samples that all positions are of.
        labels: (n,); of numbers with a fraction, a regression, the checks of classes are left out.
        parts: positions by name; `train` and `validation`, and others that training must not see, such as `test`.
        columns: values that tell of leakage, by kind: `group` what belongs together, `time` when it was; each (n,).
        folds: of how many folds this is one; a configuration is judged by all of them.
        accuracy: what good configurations are expected to reach, which decides how noisy a score is.

    Raises:
        SplitError: a part is empty or lacking, or a column does not fit the samples.
    """
    audited = _audited(inputs, labels, parts, folds, accuracy)
    found = [*_share(audited), *_duplicates(audited), *_classes(audited), _resolution(audited)]
    for kind, values in (columns or {}).items():
        column = read_column(values, name=f"the column of {kind}", n_samples=len(audited.labels))
        found += _group_leak(audited, column) if kind == "group" else _time_leak(audited, column)
    return sorted(found, key=lambda finding: GRAVITY[finding.severity])


def smallest_difference(accuracy: float, n_samples: int) -> float:
    """Two standard errors of a share of right answers, 2 √(p (1 - p) / n): smaller differences are chance."""
    return 2 * math.sqrt(accuracy * (1 - accuracy) / n_samples)


def _audited(
    inputs: ArrayLike, labels: ArrayLike, parts: Mapping[str, ArrayLike], folds: int, accuracy: float
) -> _Audited:
    column = read_column(labels, name="labels")
    samples = np.asarray(inputs)
    if len(samples) != len(column):
        raise SplitError(f"there are {len(samples)} inputs for {len(column)} labels.")
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
            sentence=f"{share:.0%} of the samples are trained on ({n_train} of {n_train + n_validation}); "
            f"{low:.0%} to {high:.0%} are usual.",
            remedy="Set data.split to 7:3 or 8:2, and data.subset to 1, unless this is meant.",
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
        sentence=f"{len(pairs)} of {n_judged} samples of {second} are {like} one of {first}{contrary}.",
        remedy=f"Remove them from {second}, or give copies of one thing the same group, and divide by data.group.",
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
            sentence=f"{_listed(unseen)} in validation and not in training, so that it cannot be learned.",
            remedy="Set data.stratify to true, raise data.subset, or leave the class out.",
            source="a sample of each class is needed",
            evidence={"classes": list(unseen[:MAX_SHOWN])},
        )
    few = {str(names[code]): int(validated[code]) for code in np.flatnonzero(validated < MIN_OF_CLASS)}
    if few:
        yield FindingView(
            code="split.few_of_class",
            severity="warning",
            sentence=f"{_listed(list(few))} in validation fewer than {MIN_OF_CLASS} times ({min(few.values())} at "
            "least), too few to see whether it is learned.",
            remedy=_more_validation(audited),
            source=OURS,
            evidence={"samples": dict(list(few.items())[:MAX_SHOWN]), "classes": len(few)},
        )


def _resolution(audited: _Audited) -> FindingView:
    """What the validation part can tell apart; always said, since it bounds what any search can find."""
    n, p = audited.n_validated, audited.accuracy
    difference = smallest_difference(p, n)
    is_coarse = difference > MAX_DIFFERENCE
    return FindingView(
        code="split.resolution",
        severity="warning" if is_coarse else "note",
        sentence=f"{n} samples of validation tell accuracies near {p:.0%} apart that differ by {100 * difference:.1f} "
        "points or more; smaller differences are chance.",
        remedy=_more_validation(audited) if is_coarse else "Do not rank configurations by less.",
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
                sentence=f"{len(shared)} groups are in {first} and in {second}, with {share:.0%} of the samples of "
                f"{second}: it is judged by what it knows.",
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
                sentence=f"{share:.0%} of the samples of {second} are not later than all of {first}: the future is "
                "known where the past is judged.",
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
