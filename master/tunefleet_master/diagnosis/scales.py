"""What can be said of a space before any trial: ranges whose scale wastes trials, and too many parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import JsonValue

from tunefleet.study.parameters import FloatRange, IntRange
from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.importance import TRIALS_PER_PARAMETER
from tunefleet_master.diagnosis.study_view import StudyView, as_written, shown

MIN_RATIO = 10.0  # one decade, from which on the lecture takes logarithms
WASTEFUL_RATIO = 100.0  # two decades: on a linear scale 9 of 10 draws lie in the upper one

NEAR_ONE = re.compile(r"(^|_)(beta_?\d?|momentum|ema)(_|$)")
"""Parameters of which 1 - x is what matters: a momentum of .99 averages over ten times as many steps as one of .9."""

RATE_ONLY, RATE_AND_BETA = 10, 25  # trials; the playbook's own numbers, for Adam
ADAM_DEFAULTS: tuple[tuple[re.Pattern[str], float, int], ...] = (
    (re.compile(r"(^|_)beta_?1(_|$)"), 0.9, RATE_ONLY),
    (re.compile(r"(^|_)eps(ilon)?(_|$)"), 1e-8, RATE_AND_BETA + 1),
)
"""Adam's parameters beside the learning rate: their default, and from how many trials on they are worth tuning."""


def linear_scales(view: StudyView) -> Iterator[Finding]:
    """A positive number over a decade or more on a linear scale; one that crowds below 1 on a linear scale."""
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
        sentence=f"{name} runs from {shown(low)} to {shown(high)} on a linear scale, so that "
        f"{min(1.0, upper_share):.0%} of random draws lie above {shown(high / 10)}.",
        remedy="Search it on a log scale, on which every factor of ten, or of two, has its share.",
        source="Bengio 2012, section 3.3 (arXiv:1206.5533); one decade is our threshold.",
        evidence={"low": low, "high": high, "ratio": high / low, "share_in_top_decade": min(1.0, upper_share)},
        edit={name: as_written(parameter, log=True)},
    )


def _crowded_below_one(name: str, low: float, high: float) -> Finding:
    return Finding(
        code="linear_scale",
        severity=Severity.NOTE,
        sentence=f"{name} runs from {shown(low)} to {high:g} on a linear scale, though 1 - {name}, which spans a "
        f"factor of {shown((1 - low) / (1 - high))}, is what matters.",
        remedy=f"Search 1 - {name} as {{log: [{1 - high:.3g}, {1 - low:.3g}]}}, and subtract it from 1 in your code.",
        source="Bengio 2012, section 3.3 (arXiv:1206.5533); one decade is our threshold.",
        evidence={"low": low, "high": high, "ratio": (1 - low) / (1 - high)},
    )


def few_trials(view: StudyView) -> Iterator[Finding]:
    """Fewer trials than the parameters need to be seen at all."""
    n_trials, d = view.spec.budget.trials, sum(1 for _ in view.tuned())
    needed = TRIALS_PER_PARAMETER * d
    if n_trials is None or n_trials >= needed:
        return
    affordable = max(1, n_trials // TRIALS_PER_PARAMETER)
    yield Finding(
        code="few_trials",
        severity=Severity.WARNING if n_trials < needed / 2 else Severity.NOTE,
        sentence=f"{n_trials} trials for {d} parameters are {shown(n_trials / d)} for each; below "
        f"{TRIALS_PER_PARAMETER} nothing can be said of most of them.",
        remedy=f"Raise the budget to {needed} trials, or fix all but {affordable} of the parameters at values that are "
        "known to work; the learning rate is the last to fix.",
        source="Google tuning playbook, on how many parameters a budget can resolve; 8 is our threshold.",
        evidence={"trials": n_trials, "parameters": d, "needed": needed},
    )


def adam_extras(view: StudyView) -> Iterator[Finding]:
    """Adam's further parameters, tuned with fewer trials than the playbook gives them."""
    n_trials = view.spec.budget.trials
    if n_trials is None:
        return
    early: dict[str, JsonValue] = {}
    for _, name, parameter in view.tuned():
        default = next((value for said, value, least in ADAM_DEFAULTS if said.search(name) and n_trials < least), None)
        if default is not None:
            when: dict[str, JsonValue] = {} if parameter.when is None else {"when": parameter.when}
            early[name] = {"fixed": default, **when}
    if early:
        yield Finding(
            code="adam_extras",
            severity=Severity.NOTE,
            sentence=f"{n_trials} trials are too few to tune {' and '.join(early)} of Adam beside its learning rate.",
            remedy=f"Below {RATE_ONLY} trials tune the learning rate only, up to {RATE_AND_BETA} also beta1, and "
            "epsilon with more.",
            source="Google tuning playbook, on Adam; the numbers are its own.",
            evidence={"trials": n_trials},
            edit=early,
        )
