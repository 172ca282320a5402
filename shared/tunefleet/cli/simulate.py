"""`tunefleet simulate`: compare samplers and pruners on the finished trials of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunefleet.catalogue.pruners import PRUNER_NAMES
from tunefleet.catalogue.samplers import SAMPLER_NAMES
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
        Path, typer.Option(metavar="FILE", help="The study's trials, from `tunefleet export`.", show_default=False)
    ],
    workers: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="The number of simulated workers.")] = 8,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000, help="The number of runs for each sampler and pruner.")
    ] = 5,
    sampler: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"A sampler: {', '.join(SAMPLER_NAMES)}, or a plugin; repeatable.  "
            "[default: the study's own, and random]",
            show_default=False,
        ),
    ] = None,
    pruner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"A pruner: {', '.join(PRUNER_NAMES)}; repeatable.  [default: the study's own, and none]",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare samplers and pruners on a study's finished trials.

    The simulation runs in virtual time and trains nothing: a proposed configuration has the results of the nearest
    trial in the table. A pruner needs learning curves, which `tunefleet export --curves` writes. The master must be
    installed here, but need not run.
    """
    from tunefleet.cli.child_processes import run_master

    # An absolute path cannot be mistaken for an option.
    arguments = ["simulate", str(file.absolute()), f"--table={table}", f"--workers={workers}", f"--seeds={seeds}"]
    arguments += [f"--sampler={name}" for name in sampler or ()]
    arguments += [f"--pruner={name}" for name in pruner or ()]
    raise typer.Exit(run_master(*arguments, data=None, database=None, as_json=as_json))
