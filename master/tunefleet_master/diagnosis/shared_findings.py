"""What many of a study's best trials have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from tunefleet.study.parameters import IntRange, RealRange
from tunefleet_master.diagnosis.edges import widened
from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.study_view import StudyView, with_bounds
from tunefleet_master.diagnosis.training.curve import LEARNING_RATE
from tunefleet_master.diagnosis.training.findings import TRIAL_RULES, is_alarm, trial_findings

MIN_TRIALS, MIN_SHARE = 3, 0.5
"""Of the best trials that must have it: with three, one of which may be an accident, half are two."""

MAX_NAMED = 6


@dataclass(frozen=True, slots=True)
class _Meaning:
    """How a finding of many trials is said, and which ranges mend it.

    Attributes:
        said: what the trials do, as the end of a sentence.
        names: of parameters whose range is widened; None: none mends it.
        upper: towards which end.
        severity: of the study's finding.
    """

    said: str
    names: re.Pattern[str] | None = None
    upper: bool = True
    severity: Severity = Severity.WARNING


REGULARISERS = re.compile(r"(^|_)(dropout|weight_decay|l2|label_smoothing|mixup)(_|$)")
SIZE = re.compile(r"(^|_)(width|depth|units|hidden|layers|channels|n_layers|n_units)(_|$)")

MEANINGS = {
    "diverged": _Meaning("diverged on their way", LEARNING_RATE, upper=False),
    "negative_loss": _Meaning("have a loss below 0"),
    "leak": _Meaning("were validated on samples that they were trained on"),
    "inputs_shifted": _Meaning("have inputs of validation on another scale than those of training"),
    "inputs_unscaled": _Meaning("have inputs that are far larger than networks are made for"),
    "not_shuffled": _Meaning("began below the accuracy of a guess, as with samples that are not shuffled"),
    "nothing_learned": _Meaning("learnt nothing"),
    "nothing_carries_over": _Meaning("learnt nothing that carries over to validation"),
    "rate_too_high": _Meaning("jump, as at too high a learning rate", LEARNING_RATE, upper=False),
    "rate_too_low": _Meaning("were as far from their end as at too low a learning rate", LEARNING_RATE),
    "loss_beside_accuracy": _Meaning("have a training loss that is too high for their accuracy"),
    "layers_apart": _Meaning("have layers that hardly move, or move a hundred times as fast as others"),
    "dead_units": _Meaning("have many dead or saturated units"),
    "update_ratio": _Meaning("take steps that are too large or too small for their weights"),
    "overfit": _Meaning("overfit", REGULARISERS),
    "no_gap": _Meaning("are as good in validation as on what they were trained on"),
    "validation_below_training": _Meaning("are better in validation than in training"),
    "dropout_in_validation": _Meaning("are no better in validation than with dropout"),
    "underfit": _Meaning("underfit", SIZE),
    "noisy_validation": _Meaning("jump in validation from one evaluation to the next"),
    "plateau": _Meaning("stood still for the last half of their training", severity=Severity.NOTE),
    "budget_too_short": _Meaning("were still getting better at their end"),
    "budget_too_long": _Meaning("were best in the first tenth of their steps"),
    "miscalibrated": _Meaning("give probabilities that are off by a tenth or more", severity=Severity.NOTE),
}


ONLY_AS_ALARMS = frozenset({"no_gap", "validation_below_training", "noisy_validation"})
"""Of which notes are no matter, however many trials have them."""


def shared_findings(view: StudyView) -> Iterator[Finding]:
    """Findings that half of the best trials have, in the order of their rules."""
    found = {number: trial_findings(curve) for number, curve in view.reported.best.items()}
    for rule in TRIAL_RULES:
        having = {number: each for number, all_of in found.items() for each in all_of if each.code == rule.code}
        is_excused = rule.code in ONLY_AS_ALARMS and not any(map(is_alarm, having.values()))
        if len(having) >= max(MIN_TRIALS, MIN_SHARE * len(found)) and not is_excused:
            yield _finding(view, having, n_best=len(found))


def _finding(view: StudyView, having: dict[int, Finding], *, n_best: int) -> Finding:
    first = next(iter(having.values()))
    meaning = MEANINGS[first.code]
    steps = [step for each in having.values() if isinstance(step := each.evidence.get("from_step"), int)]
    since = f" from step {int(np.median(steps))} on, in the median" if steps else ""
    numbers: list[JsonValue] = list(having)
    evidence: dict[str, JsonValue] = {"n_trials": len(having), "of": n_best, "trials": numbers[:MAX_NAMED]}
    edit = _mending(view, meaning)
    mended = f" Or search farther out: {', '.join(edit)}." if edit else ""
    return Finding(
        code=first.code,
        severity=meaning.severity,
        sentence=f"{len(having)} of the {n_best} best trials {meaning.said}{since}.",
        remedy=f"{_general(having)}{mended}",
        source=first.source,
        evidence={**evidence, "from_step": int(np.median(steps))} if steps else evidence,
        edit=edit,
    )


def _general(having: dict[int, Finding]) -> str:
    """The remedy that most of the trials have."""
    remedies: Sequence[str] = [each.remedy for each in having.values()]
    return max(dict.fromkeys(remedies), key=remedies.count)


def _mending(view: StudyView, meaning: _Meaning) -> dict[str, JsonValue] | None:
    """The ranges of the parameters that are to blame, farther out on the side that helps; None without such ranges."""
    edit: dict[str, JsonValue] = {}
    for _, name, parameter in view.tuned():
        if meaning.names is None or not meaning.names.search(name) or not isinstance(parameter, RealRange | IntRange):
            continue
        wider = widened(parameter, upper=meaning.upper)
        if wider is not None:
            edit[name] = with_bounds(parameter, wider)
    return edit or None
