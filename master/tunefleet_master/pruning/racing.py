"""Racing: a configuration that is worse than the best one by the folds that both were trained on gets no more of them.

Fold by fold, since folds differ in how hard they are by more than configurations do, and what is common cancels out.

References:
    Maron and Moore (1994), Hoeffding Races, NeurIPS 6: stop evaluating what is worse already.
    Birattari, Stuetzle, Paquete, Varrentrapp (2002), A Racing Algorithm for Configuring Metaheuristics, GECCO: a test
        on the differences in the blocks that both have.
    Nadeau and Bengio (2003), Inference for the Generalization Error, Machine Learning 52, section 3, equation 9: the
        variance of a mean over splits that share training samples.

Notation:
    k       folds
    n       folds that both configurations are complete on, n < k
    d_j     the difference of their values in the j-th of these, minimised: above 0 where ours is worse
    m, s    mean and standard deviation of d_1 ... d_n
    t       m / (s * sqrt(1/n + 1/(k-1))), compared with Student's distribution of n - 1 degrees of freedom
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

ALPHA = 0.05
"""A configuration goes when a difference like this, or a greater one, has so little chance where there is none."""

MIN_PAIRS = 3
"""From two differences, no spread can be told: by luck two are as good as equal, and t has no bound."""

_NO_SPREAD = 1e-9  # of the mean; what is less is the rounding of equal differences


def chance(differences: Sequence[float], *, folds: int) -> float:
    """How likely differences such as these are (or greater ones) where ours is no worse: the test's p.

    The usual paired test takes folds for independent. Each two share (k-2)/(k-1) of their training samples, so that its
    variance s²/n is too small by far; with test and training parts of sizes 1 : k-1 the corrected one is
    s² (1/n + 1/(k-1)).

    Accuracies over few samples come in steps, and differences are often equal to the last digit. Then s is 0 and says
    nothing; what is left is that all n are of one sign, whose chance is 2^-n.

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
    from scipy.special import stdtr  # scipy takes a second to import, which a master that starts need not wait for

    t = mean / (spread * math.sqrt(1 / n + 1 / (folds - 1)))
    return float(stdtr(n - 1, -t))


@dataclass(frozen=True, slots=True)
class Loser:
    """A configuration that gets no more folds, and why."""

    configuration: int
    why: str


class Race:
    """The configurations of a study, fold by fold: a fold of the study's events that is asked who has lost.

    Args:
        folds: k.
        sign: -1 where the objective is maximised, 1 where it is minimised.
    """

    def __init__(self, folds: int, *, sign: float) -> None:
        self._folds = folds
        self._sign = sign
        self._open: dict[int, set[int]] = {}  # configurations that have folds which wait or run: these folds
        self._values: dict[int, dict[int, float]] = {}  # minimised, by fold, of what is not complete as a whole
        self._pruned: set[int] = set()
        self._best: tuple[int, Mapping[int, float]] | None = None

    def begin(self, trial: int) -> None:
        """A trial waits or runs, for the first time or again."""
        configuration, fold = divmod(trial, self._folds)
        self._open.setdefault(configuration, set()).add(fold)

    def complete(self, trial: int, value: float) -> None:
        """A trial is complete with this value, in the user's own sense."""
        configuration, fold = divmod(trial, self._folds)
        values = self._values.setdefault(configuration, {})
        values[fold] = self._sign * value
        if len(values) == self._folds:
            self._crown(configuration, self._values.pop(configuration))
        self._close(configuration, fold)

    def end(self, trial: int, *, is_pruned: bool) -> None:
        """A trial has ended without a result that counts."""
        configuration, fold = divmod(trial, self._folds)
        if is_pruned:
            self._pruned.add(configuration)
        self._close(configuration, fold)

    def losers(self) -> Iterator[Loser]:
        """Those with folds still to come, by their number."""
        for configuration in sorted(self._open):
            why = self._why_lost(configuration)
            if why is not None:
                yield Loser(configuration, why)

    def _why_lost(self, configuration: int) -> str | None:
        if configuration in self._pruned:
            return "another fold of its configuration was pruned"
        ours = self._values.get(configuration, {})
        if self._best is None or len(ours) < MIN_PAIRS:
            return None
        number, theirs = self._best
        p = chance([ours[fold] - theirs[fold] for fold in ours], folds=self._folds)
        if p >= ALPHA:
            return None
        return (
            f"its configuration is worse than configuration {number} by the {len(ours)} folds that it was trained on "
            f"(p = {p:.2g})"
        )

    def _crown(self, configuration: int, values: Mapping[int, float]) -> None:
        """The lower number stays among equal ones, in whatever order they came."""
        if self._best is not None:
            number, theirs = self._best
            if (fmean(theirs.values()), number) < (fmean(values.values()), configuration):
                return
        self._best = configuration, values

    def _close(self, configuration: int, fold: int) -> None:
        still = self._open.get(configuration, set())
        still.discard(fold)
        if not still:
            self._open.pop(configuration, None)
