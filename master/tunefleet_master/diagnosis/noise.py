"""Findings on validation noise, and on validation metrics that disagree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from tunefleet.study.parameters import Choice
from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.study_view import StudyView, shown
from tunefleet_master.diagnosis.training.curve import TrialCurve, usable
from tunefleet_master.diagnosis.training.generalization import jitter
from tunefleet_master.diagnosis.training.series import is_accuracy, lower_is_better, sample_size, side_of
from tunefleet_master.search.history import Outcome, Values

ERRORS = 2.0  # standard errors within which trials are indistinguishable
MIN_TIED = 3  # besides the best
MIN_OF_OPTION = 3  # trials with a value of a choice
MIN_RANKED = 20  # trials to compare metrics on: the 95 % interval of a correlation of .5 is then .1 to .8
AGREEING = 0.7  # a rank correlation significantly below this is a disagreement
Z = 1.96
NEARLY_ONE = 1 - 1e-9  # the largest correlation for which Fisher's transform is finite


@dataclass(frozen=True, slots=True)
class Noise:
    """The random error of an objective value.

    Attributes:
        error: the standard error, in the objective's unit.
        samples: the size of the validation part, if known; the error is then that of a share of it.
    """

    error: float
    samples: int | None


def noise(view: StudyView) -> Noise | None:
    """Return the noise of the objective: of a share of samples, or else of the best curves; None if unknown."""
    curves = [curve for curve in view.reported.curves if usable(curve.objective, min_length=3) is not None]
    if not curves:
        return None
    found = _of_a_share(view, curves[0])
    if found is not None:
        return found
    jumps = [jitter(curve.objective.finest.values[len(curve.objective) // 2 :]) for curve in curves]
    error = float(np.median(jumps))
    return Noise(error, None) if error > 0 else None


def _of_a_share(view: StudyView, best: TrialCurve) -> Noise | None:
    if not is_accuracy(view.spec.objective.metric):
        return None
    shares = best.objective.finest.values
    if not np.all((shares >= 0) & (shares <= 1)) or (size := sample_size(shares)) is None:
        return None
    top = float(shares.max())
    return Noise(math.sqrt(max(top * (1 - top), 0.25 / size) / size), size)


def indistinguishable_trials(view: StudyView) -> Iterator[Finding]:
    """Find trials that are indistinguishable from the best one, and choices without a distinguishable effect."""
    chance = noise(view)
    values = _complete(view)
    if chance is None or len(values) < 2:
        return
    best = min(values.values())
    margin = ERRORS * chance.error
    tied = [number for number, value in values.items() if value <= best + margin]
    of = f" of {chance.samples} validation samples" if chance.samples else " of the best curves"
    if len(tied) > MIN_TIED:
        yield Finding(
            code="within_noise",
            severity=Severity.NOTE,
            sentence=f"{len(tied) - 1} trials are within {shown(margin)} of the best one, two standard errors{of}: "
            "they are indistinguishable.",
            remedy="Train the best of them again with three new seeds, or use five-fold cross-validation, and compare "
            "the means. A larger validation part also helps.",
            source="Google tuning playbook, on trial variance; two standard errors are our threshold.",
            evidence={"standard_error": chance.error, "samples": chance.samples, "n_within": len(tied) - 1},
        )
    yield from _idle_choices(view, values, margin)


def _idle_choices(view: StudyView, values: Mapping[int, float], margin: float) -> Iterator[Finding]:
    """Find choices for which every value has a trial about as good as the best one."""
    points = view.history.points
    for j, name, parameter in view.tuned():
        if not isinstance(parameter, Choice) or parameter.when is not None:
            continue
        best: dict[str, float] = {}
        for option in parameter.choice:
            having = [value for number, value in values.items() if points[number, j] == parameter.to_unit(option)]
            if len(having) >= MIN_OF_OPTION:
                best[str(option)] = min(having)
        apart = max(best.values(), default=0.0) - min(best.values(), default=0.0)
        if len(best) < len(parameter.choice) or apart > margin:
            continue
        evidence: dict[str, JsonValue] = {"apart": apart, "margin": margin}
        yield Finding(
            code="effect_within_noise",
            severity=Severity.NOTE,
            sentence=f"The best trials with {' and '.join(f'{name} = {option}' for option in best)} differ by only "
            f"{shown(apart)}, less than the noise of {shown(margin)}.",
            remedy=f"Choose the cheapest value of {name}, and spend the trials on the other parameters. Only new seeds "
            "can show a difference.",
            source="Google tuning playbook, on trial variance; two standard errors are our threshold.",
            evidence=evidence,
        )


def _complete(view: StudyView) -> dict[int, float]:
    """Return the minimised values of the complete trials of the last stage, by number."""
    history = view.history
    chosen = history.with_outcome(Outcome.COMPLETE)
    chosen = chosen[history.stages[chosen] == history.n_stages - 1]
    return {int(i): float(history.values[i, 0]) for i in chosen if math.isfinite(history.values[i, 0])}


def metric_disagreements(view: StudyView) -> Iterator[Finding]:
    """Find validation metrics that rank the trials differently from the objective."""
    metric = view.spec.objective.metric
    results = {number: found for number, found in view.reported.results.items() if metric in found}
    names = dict.fromkeys(name for found in results.values() for name in found)
    for name in names:
        lower = lower_is_better(name)
        if name == metric or lower is None or side_of(name)[0] != "validation":
            continue
        both = {number: found for number, found in results.items() if name in found}
        pairs = np.array([[view.sign * found[metric], found[name]] for found in both.values()])
        if len(pairs) >= MIN_RANKED and np.isfinite(pairs).all() and (np.ptp(pairs, axis=0) > 0).all():
            other = pairs[:, 1] if lower else -pairs[:, 1]
            yield from _disagreement(name, list(both), pairs[:, 0], other=other, metric=metric)


def _disagreement(name: str, numbers: list[int], judged: Values, *, other: Values, metric: str) -> Iterator[Finding]:
    """Yield a finding if the rank correlation is significantly low, by Fisher's interval."""
    from scipy.stats import spearmanr  # takes two seconds, which delay no start of a master

    correlation = float(np.clip(spearmanr(judged, other).statistic, -NEARLY_ONE, NEARLY_ONE))
    high = math.tanh(math.atanh(correlation) + Z / math.sqrt(len(numbers) - 3))
    if high >= AGREEING:
        return
    best = int(other.argmin())
    place = int((judged < judged[best]).sum()) + 1
    yield Finding(
        code="metrics_disagree",
        severity=Severity.WARNING,
        sentence=f"{metric} and {name} rank {len(numbers)} trials differently (rank correlation {correlation:.2f}): "
        f"trial {numbers[best]}, the best by {name}, is number {place} by {metric}.",
        remedy="Decide which metric matters, or search the Pareto front of both with `objectives`.",
        source="Google tuning playbook, on choosing the objective; .7 is our threshold, for Fisher's 95 % interval.",
        evidence={"correlation": correlation, "upper": high, "trials": len(numbers), "place": place},
    )
