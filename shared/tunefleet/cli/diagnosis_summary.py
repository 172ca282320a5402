"""The diagnosis of a finished study, as `tunefleet demo` prints it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunefleet.cli.findings import finding_lines
from tunefleet.cli.look import trial_tables
from tunefleet.cli.preflight_report import report_lines

if TYPE_CHECKING:
    from rich.console import Console

    from tunefleet.client.study import Study

FINDINGS_S = 60.0  # the process that computes them has to start first
PICTURE = "look.svg"


def show_diagnosis(study: Study, number: int, *, out: Path, screen: Console) -> dict[str, Any]:
    """Print the preflight, the findings on the study and on trial `number`, and the trial's wrong predictions.

    Write a picture of these samples into the folder `out`. Return a summary as plain data.
    """
    from tunefleet.figures.contact_sheets import trial_sheet

    report = study.view().preflight_report
    for line in report_lines(report) if report is not None else ():
        screen.print(line, markup=False)
    found = [*study.findings(timeout_s=FINDINGS_S).findings, *study.trial_findings(number).findings]
    for line in chain.from_iterable(map(finding_lines, found)):
        screen.print(line, markup=False)
    look = study.look_at(number)
    for table in trial_tables(look):
        screen.print(table, markup=False)
    picture = out / PICTURE
    picture.write_text(trial_sheet(look), encoding="utf-8")
    screen.print(f"Pictures of these samples: {picture}", markup=False, soft_wrap=True)
    return {
        "preflight_passed": report is not None and report.passed,
        "findings": [finding.code for finding in found],
        "wrong": look.n_wrong,
        "looked_at": look.n_samples,
    }
