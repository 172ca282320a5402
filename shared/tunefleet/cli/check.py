"""`tunefleet check`: every check of a study's file that needs no master."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunefleet.cli import output, preflight_report
from tunefleet.cli.options import AsJson, examples
from tunefleet.cli.studies import StudyFile

if TYPE_CHECKING:
    from tunefleet.study.spec import StudySpec

app = typer.Typer()


@app.command(
    epilog=examples(
        "tunefleet check study.yaml",
        "tunefleet check --run study.yaml     also check that it can overfit 64 samples",
    )
)
def check(
    file: StudyFile,
    data: Annotated[
        bool, typer.Option("--data", help="Also audit the data split of a built-in task; this reads the data.")
    ] = False,
    run: Annotated[
        bool, typer.Option("--run", help="Also run the preflight here: check that the function can learn at all.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a study's file before you submit it.

    The command prints every broken rule, the space and the size of its grid, and checks that the function fits the
    space. It needs no master, and runs your code only with --run. The exit code is 2 when the study cannot be
    submitted, and 1 when its preflight would block it.
    """
    from tunefleet.errors import InvalidInput

    report: dict[str, Any] = {"ok": False, "problems": [], "unavailable": [], "warnings": []}
    try:
        report |= _report(file)
    except InvalidInput as error:
        report["problems"] = [str(problem) for problem in error.problems]
    if data and not report["problems"]:
        report["data"] = _audit(file)
    report["ok"] = not report["problems"] and not report["unavailable"]
    found = preflight_report.run_preflight_here(file) if run and report["ok"] else None
    report |= {} if found is None else {"preflight": found, "ok": found.passed}
    if as_json:
        output.print_json(report)
    else:
        _print(report)
    if not report["ok"]:
        raise typer.Exit(2 if found is None else 1)


def _report(file: StudyFile) -> dict[str, Any]:
    from tunefleet.client.study_file import read_study
    from tunefleet.rules.code import code_problems
    from tunefleet.rules.review import review
    from tunefleet.study.stages import planned

    source = read_study(file)
    spec = source.spec
    found = review(spec)
    space = spec.search_space
    return {
        "study": spec.name,
        "problems": [str(problem) for problem in source.with_lines((*found.problems, *code_problems(spec)))],
        "unavailable": [str(problem) for problem in source.with_lines(found.unavailable)],
        "warnings": list(found.warnings),
        "space": {name: _parameter(spec, name) for name in space.names},
        "configurations": space.size,
        "grid_points": space.grid_size,
        "stages": [stage.model_dump() for stage in planned(spec)],
        "function": _signature(spec),
    }


def _audit(file: Path) -> list[dict[str, Any]]:
    """Return the findings of the worker's program, which reads the data, on the split."""
    import json
    import subprocess
    import sys

    from tunefleet.cli.child_processes import require_component
    from tunefleet.errors import TunefleetError

    require_component("tunefleet_worker", "worker")
    command = [sys.executable, "-m", "tunefleet_worker", "audit", str(file.absolute()), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise TunefleetError(f"The data could not be audited: {ran.stderr.strip()[-2_000:].removeprefix('error: ')}")
    findings: list[dict[str, Any]] = json.loads(ran.stdout)
    return findings


def _parameter(spec: StudySpec, name: str) -> dict[str, Any]:
    from tunefleet.study.space import describe

    parameter = spec.space[name]
    return {"range": describe(parameter), "when": parameter.when, "grid": parameter.grid_size}


def _signature(spec: StudySpec) -> str | None:
    from tunefleet.errors import Problem
    from tunefleet.rules.signature import find, rendered
    from tunefleet.study.spec import FunctionRun

    if not isinstance(spec.run, FunctionRun) or spec.run.code is None:
        return None
    found = find(spec.run, Path(spec.run.code))
    return None if found is None or isinstance(found, Problem) else rendered(found)


def _print(report: dict[str, Any]) -> None:
    from tunefleet.model import counted

    out = output.console()
    if "space" in report:
        rows = [[name, facts["range"], facts["when"] or "", facts["grid"]] for name, facts in report["space"].items()]
        out.print(output.table(["parameter", "range", "when", "grid points"], rows), markup=False)
        configurations = report["configurations"]
        size = "unlimited (a parameter is continuous)" if configurations is None else f"{configurations:,} at most"
        out.print(f"configurations: {size}")
        out.print(f"full grid: {report['grid_points']:,} points")
        for i, stage in enumerate(report["stages"], start=1):
            trials, steps = counted(stage["trials"], "trial"), counted(stage["steps"], "step")
            out.print(f"stage {i}: {trials} of {steps}")
        if report["function"]:
            out.print(f"function: {report['function']}", markup=False)
    for problem in (*report["problems"], *report["unavailable"]):
        output.print_message(f"error: {problem}")
    for warning in report["warnings"]:
        output.print_message(f"warning: {warning}")
    for finding in report.get("data", ()):
        output.print_message(f"{finding['severity']}: {finding['sentence']} {finding['remedy']}")
    for text in preflight_report.report_lines(report["preflight"]) if "preflight" in report else ():
        out.print(text, markup=False)
    if report["ok"]:
        out.print(f"{report['study']}: no problem found")
