"""Racing: a configuration that is significantly worse than the best one on their common folds gets no more folds.

Comparisons are paired by fold: folds differ in difficulty by more than configurations do, and pairing cancels this.

References:
    Maron and Moore (1994), Hoeffding Races, NeurIPS 6: early elimination of inferior candidates.
    Birattari, Stuetzle, Paquete, Varrentrapp (2002), A Racing Algorithm for Configuring Metaheuristics, GECCO: a test
        on the differences within common blocks.
    Nadeau and Bengio (2003), Inference for the Generalization Error, Machine Learning 52, section 3, equation 9: the
        variance of a mean over splits that share training samples.

Notation:
    k       folds
    n       folds that both configurations have completed, n < k
    d_j     the difference of their minimised values on the j-th of these; positive where the candidate is worse
    m, s    mean and standard deviation of d_1 ... d_n
    t       m / (s * sqrt(1/n + 1/(k-1))), compared with Student's distribution of n - 1 degrees of freedom
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

ALPHA = 0.05
"""The significance level: a configuration is eliminated if p is below it."""

MIN_PAIRS = 3
"""Two differences do not determine a spread: they may be nearly equal by chance, and t has no bound."""

_NO_SPREAD = 1e-9  # relative to the mean; a smaller spread is the rounding of equal differences


def p_value(differences: Sequence[float], *, folds: int) -> float:
    """Return the p-value of the one-sided test that the candidate is no worse.

    The usual paired test assumes independent folds. Any two of them share (k-2)/(k-1) of their training samples, so its
    variance s²/n is far too small. With test and training parts of sizes 1 : k-1 the corrected variance is
    s² (1/n + 1/(k-1)).

    Accuracies over few samples take few values, and differences are often exactly equal. Then s is 0, and the sign test
    remains: the probability that all n have one sign is 2^-n.

    Args:
        differences: d_1 ... d_n, n >= 2.
        folds: k, at least 2.
    """
    mean, spread = fmean(differences), stdev(differences)
    if mean <= 0:
        return 1.0
    n = len(differences)
    if spread <= _NO_SPREAD * mean:
        return 0.5**n
    from scipy.special import stdtr  # takes a second, which delays no start of a master

    t = mean / (spread * math.sqrt(1 / n + 1 / (folds - 1)))
    return float(stdtr(n - 1, -t))


@dataclass(frozen=True, slots=True)
class Elimination:
    """An eliminated configuration, which gets no more folds, and the reason."""

    configuration: int
    reason: str


class Race:
    """The race between the configurations of a study: a fold of the study's events that yields the eliminated ones.

    Args:
        folds: k.
        sign: -1 if the objective is maximised, 1 if it is minimised.
    """

    def __init__(self, folds: int, *, sign: float) -> None:
        self._folds = folds
        self._sign = sign
        self._open: dict[int, set[int]] = {}  # by configuration: its folds that wait or run
        self._values: dict[int, dict[int, float]] = {}  # minimised, by fold, of configurations with folds to come
        self._pruned: set[int] = set()
        self._best: tuple[int, Mapping[int, float]] | None = None

    def begin(self, trial: int) -> None:
        """Record that a trial waits or runs, for the first time or again."""
        configuration, fold = divmod(trial, self._folds)
        self._open.setdefault(configuration, set()).add(fold)

    def complete(self, trial: int, value: float) -> None:
        """Record that a trial is complete with this value, in the user's own sense."""
        configuration, fold = divmod(trial, self._folds)
        values = self._values.setdefault(configuration, {})
        values[fold] = self._sign * value
        if len(values) == self._folds:
            self._update_best(configuration, self._values.pop(configuration))
        self._close(configuration, fold)

    def end(self, trial: int, *, is_pruned: bool) -> None:
        """Record that a trial has ended without a result that counts."""
        configuration, fold = divmod(trial, self._folds)
        if is_pruned:
            self._pruned.add(configuration)
        self._close(configuration, fold)

    def eliminations(self) -> Iterator[Elimination]:
        """Yield the eliminated configurations with folds to come, by their number."""
        for configuration in sorted(self._open):
            reason = self._elimination_reason(configuration)
            if reason is not None:
                yield Elimination(configuration, reason)

    def _elimination_reason(self, configuration: int) -> str | None:
        if configuration in self._pruned:
            return "another fold of its configuration was pruned"
        ours = self._values.get(configuration, {})
        if self._best is None or len(ours) < MIN_PAIRS:
            return None
        number, theirs = self._best
        p = p_value([ours[fold] - theirs[fold] for fold in ours], folds=self._folds)
        if p >= ALPHA:
            return None
        return (
            f"its configuration is worse than configuration {number} on the {len(ours)} folds that both have completed "
            f"(p = {p:.2g})"
        )

    def _update_best(self, configuration: int, values: Mapping[int, float]) -> None:
        """Update the best configuration; of equal ones the lower number wins, in any order of events."""
        if self._best is not None:
            number, theirs = self._best
            if (fmean(theirs.values()), number) < (fmean(values.values()), configuration):
                return
        self._best = configuration, values

    def _close(self, configuration: int, fold: int) -> None:
        open_folds = self._open.get(configuration, set())
        open_folds.discard(fold)
        if not open_folds:
            self._open.pop(configuration, None)
