"""Everything that is to be said of a study's space and of its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tunefleet.study.spec import StudySpec
from tunefleet_master.diagnosis.edges import edges
from tunefleet_master.diagnosis.effects import idle_parameters
from tunefleet_master.diagnosis.expected_gain import not_worth_going_on
from tunefleet_master.diagnosis.failures import failing_regions, many_failures, rates_at_the_edge
from tunefleet_master.diagnosis.finding import Finding
from tunefleet_master.diagnosis.noise import disagreements, ties
from tunefleet_master.diagnosis.scales import adam_extras, few_trials, linear_scales
from tunefleet_master.diagnosis.shared_findings import shared_findings
from tunefleet_master.diagnosis.study_view import StudyView
from tunefleet_master.search.history import History

Rule = Callable[[StudyView], Iterator[Finding]]
"""Yields what it finds, and nothing where all is well or too little is known. Pure, as everything here."""

RULES: tuple[Rule, ...] = (
    many_failures,
    failing_regions,
    shared_findings,
    disagreements,
    edges,
    few_trials,
    linear_scales,
    rates_at_the_edge,
    adam_extras,
    idle_parameters,
    ties,
    not_worth_going_on,
)
"""What costs a study most comes first."""


def study_findings(history: History, spec: StudySpec) -> list[Finding]:
    """What all rules find, the gravest first, and of equal ones in the order of `RULES`.

    Works from an empty history on. From 40 trials on nearly all of the time goes to the importance of parameters: a
    second of CPU with 10 parameters, four with 50, however many trials there are.
    """
    return findings(StudyView(history, spec))


def findings(view: StudyView) -> list[Finding]:
    """The same of a view, whose costly parts stay computed."""
    found = [finding for rule in RULES for finding in rule(view)]
    return sorted(found, key=lambda finding: finding.severity.rank)
