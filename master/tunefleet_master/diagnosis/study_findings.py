"""Findings on a study, and the table of their rules: one row for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tunefleet.study.spec import StudySpec
from tunefleet_master.diagnosis.expected_gain import negligible_gain
from tunefleet_master.diagnosis.failures import failing_regions, many_failures, rates_near_divergence
from tunefleet_master.diagnosis.finding import Finding, Severity
from tunefleet_master.diagnosis.negligible_parameters import negligible_parameters
from tunefleet_master.diagnosis.noise import indistinguishable_trials, metric_disagreements
from tunefleet_master.diagnosis.range_edges import best_at_edge
from tunefleet_master.diagnosis.search_space import adam_extras, few_trials, linear_scales
from tunefleet_master.diagnosis.shared_findings import shared_findings
from tunefleet_master.diagnosis.study_view import StudyView
from tunefleet_master.search.history import History

StudyRule = Callable[[StudyView], Iterator[Finding]]
"""Yields findings; none if all is well, or if too little is known. Pure."""


@dataclass(frozen=True, slots=True)
class StudyRuleRow:
    """A rule on a study.

    Attributes:
        rule: reads a view of the study.
        codes: of its findings. Empty: it repeats findings of trials.
        severity: the highest of its findings.
    """

    rule: StudyRule
    codes: tuple[str, ...]
    severity: Severity = Severity.WARNING


STUDY_RULES: tuple[StudyRuleRow, ...] = (
    StudyRuleRow(many_failures, ("many_failures",)),
    StudyRuleRow(failing_regions, ("failing_region",)),
    StudyRuleRow(shared_findings, ()),
    StudyRuleRow(metric_disagreements, ("metrics_disagree",)),
    StudyRuleRow(best_at_edge, ("edge",)),
    StudyRuleRow(few_trials, ("few_trials",)),
    StudyRuleRow(linear_scales, ("linear_scale",)),
    StudyRuleRow(rates_near_divergence, ("rate_at_the_edge",), Severity.NOTE),
    StudyRuleRow(adam_extras, ("adam_extras",), Severity.NOTE),
    StudyRuleRow(negligible_parameters, ("no_effect",), Severity.NOTE),
    StudyRuleRow(indistinguishable_trials, ("within_noise", "effect_within_noise"), Severity.NOTE),
    StudyRuleRow(negligible_gain, ("not_worth_going_on",), Severity.NOTE),
)
"""The problems that cost a study most come first."""


def study_findings(history: History, spec: StudySpec) -> list[Finding]:
    """Return the findings of all rules, the most severe first, then in the order of `STUDY_RULES`.

    The history may be empty. From 40 trials on, the importance of parameters takes nearly all of the time: a CPU second
    with 10 parameters, four with 50, with any number of trials.
    """
    return findings(StudyView(history, spec))


def findings(view: StudyView) -> list[Finding]:
    """Return the same for a view, which caches costly quantities."""
    found = [finding for row in STUDY_RULES for finding in row.rule(view)]
    return sorted(found, key=lambda finding: finding.severity.rank)
