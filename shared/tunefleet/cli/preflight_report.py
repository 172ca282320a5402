"""What a preflight found, as the commands print it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunefleet.cli import output

if TYPE_CHECKING:
    from pathlib import Path

    from tunefleet.protocol import PreflightState
    from tunefleet.protocol.preflight import BranchReport, Check, PreflightReport


def report_lines(report: PreflightReport) -> Iterator[str]:
    """A line for each architecture that passed, and all that is wrong with one that did not."""
    for branch in report.branches:
        yield from _branch_lines(branch)


def state_text(state: PreflightState | None, report: PreflightReport | None) -> str:
    """The state of a study's preflight in some words; empty where it has none."""
    if state is None:
        return ""
    if report is None:
        return state.value
    n = len(report.branches)
    return f"{state.value} ({n} architecture{'s' if n != 1 else ''} looked at in {report.took_s:.1f} s)"


def run_preflight_here(file: Path) -> PreflightReport:
    """Let the worker's own program look at the study of a file, which runs its code.

    Raises:
        ChildFailed: it could not be looked at; the program has said why. TunefleetError: no worker is installed here.
    """
    import subprocess
    import sys

    from tunefleet.cli.child_processes import ChildFailed, require_component
    from tunefleet.protocol.preflight import PreflightReport

    require_component("tunefleet_worker", "worker")
    command = [sys.executable, "-m", "tunefleet_worker", "preflight", str(file), "--json"]
    ran = subprocess.run(command, stdout=subprocess.PIPE)
    if ran.returncode not in (0, 1) or not ran.stdout:
        raise ChildFailed("the preflight could not be carried out; what it said stands above.")
    return PreflightReport.model_validate_json(ran.stdout)


def _branch_lines(branch: BranchReport) -> Iterator[str]:
    name = output.params_text(branch.params) or "its only configuration"
    if not branch.blockers:
        fitted = next((check.saw for check in branch.checks if check.code == "overfit"), "passed")
        yield f"preflight passed: {fitted} ({name})"
    for check in branch.reasons:
        yield from _check_lines("preflight blocked", check, name)
    for check in branch.warnings:
        yield from _check_lines("preflight doubt", check, name)


def _check_lines(what: str, check: Check, name: str) -> Iterator[str]:
    yield f"{what}: {check.saw} ({name})"
    yield f"  likely: {check.likely}"
