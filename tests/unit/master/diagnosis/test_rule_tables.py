"""Codes of findings: every table, page and benchmark lists those of the rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmarks.fault_cases.faults import FAULTS
from tests.unit.master.diagnosis.test_trial_rules import FIRES
from tests.unit.master.diagnosis.trial_curves import curve

from tunefleet_master.diagnosis.finding import Severity
from tunefleet_master.diagnosis.study_findings import STUDY_RULES
from tunefleet_master.diagnosis.training.findings import trial_findings
from tunefleet_master.diagnosis.training.rules import TRIAL_RULES

ROOT = Path(__file__).parents[4]
CLINIC, SEARCH = ((ROOT / "docs" / name).read_text() for name in ("clinic.md", "search.md"))
TRIAL_CODES = {row.code for row in TRIAL_RULES}
STUDY_CODES = {code for row in STUDY_RULES for code in row.codes}


def test_no_code_is_used_twice() -> None:
    codes = [*(row.code for row in TRIAL_RULES), *(code for row in STUDY_RULES for code in row.codes)]
    assert len(set(codes)) == len(codes)


def test_a_rule_explains_findings_that_exist() -> None:
    assert {code for row in TRIAL_RULES for code in row.explains} <= TRIAL_CODES


def test_the_pages_list_every_code_of_a_study() -> None:
    written = set(re.findall(r"^(?:\| |- \*\*)`(\w+)`", SEARCH + CLINIC, re.MULTILINE))
    assert STUDY_CODES - written == set()


def test_the_page_on_trials_lists_every_code_and_marks_the_notes() -> None:
    table = CLINIC.split("### Rules on one trial")[1].split("### ")[0]
    rows = re.findall(r"^\| `(\w+)`( \(note\))? \|", table, re.MULTILINE)
    assert {code: bool(note) for code, note in rows} == {row.code: row.severity is Severity.NOTE for row in TRIAL_RULES}


@pytest.mark.parametrize("code", sorted(FIRES))
def test_no_finding_is_graver_than_its_row_states(code: str) -> None:
    gravest = {row.code: row.severity for row in TRIAL_RULES}
    for finding in trial_findings(curve(**FIRES[code][0])):
        assert finding.severity.rank >= gravest[finding.code].rank


def test_the_benchmark_of_faults_names_codes_that_exist() -> None:
    assert {sign for fault in FAULTS.values() for sign in fault.signs} <= TRIAL_CODES
