"""A preflight's report, as the commands print it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunefleet.cli import output

if TYPE_CHECKING:
    from pathlib import Path

    from tunefleet.protocol import PreflightState
    from tunefleet.protocol.preflight import BranchReport, Check, PreflightReport


def report_lines(report: PreflightReport) -> Iterator[str]:
    """Yield a line for each architecture that passed, and the failed checks of each that did not."""
    for branch in report.branches:
        yield from _branch_lines(branch)


def state_text(state: PreflightState | None, report: PreflightReport | None) -> str:
    """Describe the state of a study's preflight; empty when the study has none."""
    if state is None:
        return ""
    if report is None:
        return state.value
    n = len(report.branches)
    return f"{state.value} ({n} architecture{'s' if n != 1 else ''} checked in {report.took_s:.1f} s)"


def run_preflight_here(file: Path) -> PreflightReport:
    """Run the preflight of a study file in the worker's program, which runs the study's code.

    Raises:
        ChildFailed: the preflight could not run; the program has printed the reason.
        TunefleetError: the worker is not installed here.
    """
    import subprocess
    import sys

    from tunefleet.cli.child_processes import ChildFailed, require_component
    from tunefleet.protocol.preflight import PreflightReport

    require_component("tunefleet_worker", "worker")
    command = [sys.executable, "-m", "tunefleet_worker", "preflight", str(file), "--json"]
    ran = subprocess.run(command, stdout=subprocess.PIPE)
    if ran.returncode not in (0, 1) or not ran.stdout:
        raise ChildFailed("the preflight could not run; its output above names the reason.")
    return PreflightReport.model_validate_json(ran.stdout)


def _branch_lines(branch: BranchReport) -> Iterator[str]:
    name = output.params_text(branch.params) or "its only configuration"
    if not branch.blockers:
        fitted = next((check.saw for check in branch.checks if check.code == "overfit"), "passed")
        yield f"preflight passed: {fitted} ({name})"
    for check in branch.reasons:
        yield from _check_lines("preflight blocked", check, name)
    for check in branch.warnings:
        yield from _check_lines("preflight warning", check, name)


def _check_lines(heading: str, check: Check, name: str) -> Iterator[str]:
    yield f"{heading}: {check.saw} ({name})"
    yield f"  likely cause: {check.likely}"
