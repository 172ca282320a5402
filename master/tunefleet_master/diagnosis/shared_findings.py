"""Findings that many of a study's best trials share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import JsonValue

from tunefleet.study.parameters import IntRange, RealRange
from tunefleet_master.diagnosis.finding import Finding
from tunefleet_master.diagnosis.range_edges import widened
from tunefleet_master.diagnosis.study_view import StudyView, with_bounds
from tunefleet_master.diagnosis.training.findings import is_alarm, trial_findings
from tunefleet_master.diagnosis.training.rules import TRIAL_RULES, Summary

MIN_TRIALS, MIN_SHARE = 3, 0.5
"""The least number and share of the best trials that must have it: one of three trials may be an accident."""

MAX_NAMED = 6


def shared_findings(view: StudyView) -> Iterator[Finding]:
    """Yield findings that half of the best trials have, in the order of their rules."""
    found = {number: trial_findings(curve) for number, curve in view.reported.best.items()}
    for row in TRIAL_RULES:
        affected = {number: each for number, all_of in found.items() for each in all_of if each.code == row.code}
        if row.summary is None or len(affected) < max(MIN_TRIALS, MIN_SHARE * len(found)):
            continue
        if any(map(is_alarm, affected.values())) or not row.summary.only_warnings:
            yield _finding(view, row.summary, affected, n_best=len(found))


def _finding(view: StudyView, summary: Summary, affected: dict[int, Finding], *, n_best: int) -> Finding:
    first = next(iter(affected.values()))
    steps = [step for each in affected.values() if isinstance(step := each.evidence.get("from_step"), int)]
    since = f" from step {int(np.median(steps))} on (median)" if steps else ""
    numbers: list[JsonValue] = list(affected)
    evidence: dict[str, JsonValue] = {"n_trials": len(affected), "of": n_best, "trials": numbers[:MAX_NAMED]}
    edit = _widened_ranges(view, summary)
    widening = f" Or widen the range of {', '.join(edit)}." if edit else ""
    return Finding(
        code=first.code,
        severity=summary.severity,
        sentence=f"{len(affected)} of the {n_best} best trials {summary.predicate}{since}.",
        remedy=f"{_most_frequent_remedy(affected)}{widening}",
        source=first.source,
        evidence={**evidence, "from_step": int(np.median(steps))} if steps else evidence,
        edit=edit,
    )


def _most_frequent_remedy(affected: dict[int, Finding]) -> str:
    """Return the most frequent remedy of the trials."""
    remedies: Sequence[str] = [each.remedy for each in affected.values()]
    return max(dict.fromkeys(remedies), key=remedies.count)


def _widened_ranges(view: StudyView, summary: Summary) -> dict[str, JsonValue] | None:
    """Return the responsible parameters with ranges widened on the side that helps; None if there are none."""
    edit: dict[str, JsonValue] = {}
    for _, name, parameter in view.tuned():
        if summary.names is None or not summary.names.search(name) or not isinstance(parameter, RealRange | IntRange):
            continue
        wider = widened(parameter, upper=summary.upper)
        if wider is not None:
            edit[name] = with_bounds(parameter, wider)
    return edit or None
