"""Findings on a search space before any trial: unsuitable scales, and too many parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import JsonValue

from tunefleet.study.parameters import FloatRange, IntRange
from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.importance import TRIALS_PER_PARAMETER
from tunefleet_master.diagnosis.study_view import StudyView, as_written, shown

MIN_RATIO = 10.0  # one decade: the common advice is a log scale from there on
WASTEFUL_RATIO = 100.0  # two decades: on a linear scale 9 of 10 draws lie in the upper one

NEAR_ONE = re.compile(r"(^|_)(beta_?\d?|momentum|ema)(_|$)")
"""Parameters for which 1 - x matters: a momentum of .99 averages over ten times as many steps as one of .9."""

RATE_ONLY, RATE_AND_BETA = 10, 25  # trials; the playbook's own numbers, for Adam
ADAM_DEFAULTS: tuple[tuple[re.Pattern[str], float, int], ...] = (
    (re.compile(r"(^|_)beta_?1(_|$)"), 0.9, RATE_ONLY),
    (re.compile(r"(^|_)eps(ilon)?(_|$)"), 1e-8, RATE_AND_BETA + 1),
)
"""Adam's parameters besides the learning rate: their default, and the number of trials from which on tuning pays."""


def linear_scales(view: StudyView) -> Iterator[Finding]:
    """Find positive ranges of a decade or more, and ranges close to 1, on a linear scale."""
    for _, name, parameter in view.tuned():
        if not isinstance(parameter, FloatRange | IntRange) or parameter.log:
            continue
        low, high = parameter.bounds
        if low > 0 and high / low >= MIN_RATIO:
            yield _on_a_linear_scale(name, parameter)
        elif NEAR_ONE.search(name) and low >= 0 and high < 1 and (1 - low) / (1 - high) >= MIN_RATIO:
            yield _crowded_below_one(name, low, high)


def _on_a_linear_scale(name: str, parameter: FloatRange | IntRange) -> Finding:
    low, high = parameter.bounds
    upper_share = (high - high / 10) / (high - low)
    return Finding(
        code="linear_scale",
        severity=Severity.WARNING if high / low >= WASTEFUL_RATIO else Severity.NOTE,
        sentence=f"{name} ranges from {shown(low)} to {shown(high)} on a linear scale, so "
        f"{min(1.0, upper_share):.0%} of random draws lie above {shown(high / 10)}.",
        remedy="Use a log scale, on which all factors of ten get equal shares.",
        source="Bengio 2012, section 3.3 (arXiv:1206.5533); one decade is our threshold.",
        evidence={"low": low, "high": high, "ratio": high / low, "share_in_top_decade": min(1.0, upper_share)},
        edit={name: as_written(parameter, log=True)},
    )


def _crowded_below_one(name: str, low: float, high: float) -> Finding:
    return Finding(
        code="linear_scale",
        severity=Severity.NOTE,
        sentence=f"{name} ranges from {shown(low)} to {high:g} on a linear scale, but its effect depends on 1 - "
        f"{name}, which spans a factor of {shown((1 - low) / (1 - high))}.",
        remedy=f"Search 1 - {name} as {{log: [{1 - high:.3g}, {1 - low:.3g}]}}, and subtract it from 1 in your code.",
        source="Bengio 2012, section 3.3 (arXiv:1206.5533); one decade is our threshold.",
        evidence={"low": low, "high": high, "ratio": (1 - low) / (1 - high)},
    )


def few_trials(view: StudyView) -> Iterator[Finding]:
    """Find budgets that are too small for the number of parameters."""
    n_trials, d = view.spec.budget.trials, sum(1 for _ in view.tuned())
    needed = TRIALS_PER_PARAMETER * d
    if n_trials is None or n_trials >= needed:
        return
    affordable = max(1, n_trials // TRIALS_PER_PARAMETER)
    yield Finding(
        code="few_trials",
        severity=Severity.WARNING if n_trials < needed / 2 else Severity.NOTE,
        sentence=f"{n_trials} trials for {d} parameters are {shown(n_trials / d)} for each; with fewer than "
        f"{TRIALS_PER_PARAMETER} per parameter, most effects cannot be seen.",
        remedy=f"Raise the budget to {needed} trials, or fix all but {affordable} of the parameters at values that are "
        "known to work. Fix the learning rate last.",
        source="Google tuning playbook, on how many parameters a budget can resolve; 8 is our threshold.",
        evidence={"trials": n_trials, "parameters": d, "needed": needed},
    )


def adam_extras(view: StudyView) -> Iterator[Finding]:
    """Find parameters of Adam that are tuned with fewer trials than the playbook recommends."""
    n_trials = view.spec.budget.trials
    if n_trials is None:
        return
    early: dict[str, JsonValue] = {}
    for _, name, parameter in view.tuned():
        default = next(
            (value for pattern, value, min_trials in ADAM_DEFAULTS if pattern.search(name) and n_trials < min_trials),
            None,
        )
        if default is not None:
            when: dict[str, JsonValue] = {} if parameter.when is None else {"when": parameter.when}
            early[name] = {"fixed": default, **when}
    if early:
        yield Finding(
            code="adam_extras",
            severity=Severity.NOTE,
            sentence=f"{n_trials} trials are too few to tune {' and '.join(early)} of Adam besides its learning rate.",
            remedy=f"With fewer than {RATE_ONLY} trials tune the learning rate only; with up to {RATE_AND_BETA} also "
            "beta1; with more also epsilon.",
            source="Google tuning playbook, on Adam; the numbers are its own.",
            evidence={"trials": n_trials},
            edit=early,
        )
