"""`tunefleet-worker audit | subsets`: checks of a study's data, on the machine that has the data."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tunefleet_worker.tasks.subset_check import SubsetResult

app = typer.Typer()

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study, YAML or JSON.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.command()
def audit(
    file: StudyFile,
    *,
    accuracy: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="The accuracy that good configurations are expected to reach.")
    ] = 0.9,
    as_json: AsJson = False,
) -> None:
    """Audit the split of a built-in task's data: duplicates, rare classes, and the resolution of the validation part.

    Nothing is trained, and the test part stays sealed. Exit codes: 0 audited; 2 the data is not on this machine.
    """
    from tunefleet.client.study_file import read_study
    from tunefleet_worker.tasks.split_audit import audit_study

    found = audit_study(read_study(file).spec, accuracy=accuracy)
    if as_json:
        print(json.dumps([finding.model_dump(mode="json") for finding in found]))
        return
    for finding in found:
        print(f"{finding.severity}: {finding.sentence} ({finding.code})\n    {finding.remedy}")


@app.command()
def subsets(
    file: StudyFile,
    *,
    configs: Annotated[int, typer.Option(min=4, max=1_000, help="Number of random configurations to train.")] = 12,
    subset: Annotated[
        list[float] | None, typer.Option(help="Share of the training part; repeatable.  [default: 0.1, 0.25]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train configurations on subsets of the data and on all of it, and compare their rankings.

    The trainings run on this machine, with the study's steps; no master is needed.
    """
    from tunefleet.client.study_file import read_study
    from tunefleet.data.seal import seal_test_part
    from tunefleet_worker.tasks.subset_check import compare_subsets

    seal_test_part()
    found = compare_subsets(
        read_study(file).spec, n_configurations=configs, subsets=subset or [0.1, 0.25], tell=_print_progress
    )
    if as_json:
        print(json.dumps([_facts(result, found[-1]) for result in found[:-1]]))
        return
    for result in found[:-1]:
        print(_sentence(_facts(result, found[-1])))


def _facts(result: SubsetResult, whole: SubsetResult) -> dict[str, Any]:
    correlation = result.correlation
    return {
        "subset": result.subset,
        "rank_correlation": None if math.isnan(correlation.rho) else round(correlation.rho, 4),
        "low": round(correlation.low, 4),
        "high": round(correlation.high, 4),
        "configurations": correlation.n,
        "trusted": correlation.is_trusted,
        "elapsed_s": round(result.elapsed_s, 2),
        "whole_elapsed_s": round(whole.elapsed_s, 2),
    }


def _sentence(facts: dict[str, Any]) -> str:
    from tunefleet.data.subsets import TRUSTED

    rho = facts["rank_correlation"]
    cost = facts["elapsed_s"] / max(facts["whole_elapsed_s"], 1e-9)
    what = f"{facts['subset']:.0%} of the data"
    if rho is None:
        return f"warning: {what} cannot rank: all {facts['configurations']} configurations scored the same."
    measured = (
        f"{what} ranks {facts['configurations']} configurations with a correlation of {rho:.2f} to all of it "
        f"({facts['low']:.2f} to {facts['high']:.2f}), at {cost:.0%} of the time"
    )
    if facts["trusted"]:
        return f"{measured}."
    return f"warning: {measured}; below {TRUSTED} the subset does not rank reliably. Use a larger subset."


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
