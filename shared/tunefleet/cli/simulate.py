"""`tunefleet simulate`: which sampler and pruner would have found a study's best trial sooner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunefleet.cli.options import AsJson, examples
from tunefleet.cli.studies import StudyFile

app = typer.Typer()


@app.command(
    epilog=examples(
        "tunefleet export digits json --curves --out digits.json",
        "tunefleet simulate study.yaml --table digits.json --workers 8 --sampler tpe --sampler gp --pruner asha",
    )
)
def simulate(
    file: StudyFile,
    table: Annotated[
        Path, typer.Option(metavar="FILE", help="The study's trials, as export writes them.", show_default=False)
    ],
    workers: Annotated[int, typer.Option(min=1, max=10_000, help="How many workers there would be.")] = 8,
    seeds: Annotated[int, typer.Option(min=1, max=1_000, help="How many runs of each.")] = 5,
    sampler: Annotated[
        list[str] | None,
        typer.Option(help="May be given again.  [default: the study's own, and random]", show_default=False),
    ] = None,
    pruner: Annotated[
        list[str] | None,
        typer.Option(help="May be given again.  [default: the study's own, and none]", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a study again in virtual time, on a table of its finished trials: nothing is trained.

    A proposed configuration does what the nearest trial of the table did. A pruner needs learning curves, which export
    writes with --curves. No master has to run, but it must be installed here.
    """
    from tunefleet.cli.child_processes import run_master

    # Absolute, so that no file's name reads as an option.
    arguments = ["simulate", str(file.absolute()), f"--table={table}", f"--workers={workers}", f"--seeds={seeds}"]
    arguments += [f"--sampler={name}" for name in sampler or ()]
    arguments += [f"--pruner={name}" for name in pruner or ()]
    raise typer.Exit(run_master(*arguments, data=None, database=None, as_json=as_json))
