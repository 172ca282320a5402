"""`tunefleet subsets`: whether a part of the data puts configurations in the same order as all of it."""

from __future__ import annotations

from typing import Annotated

import typer

from tunefleet.cli.options import AsJson, examples
from tunefleet.cli.studies import StudyFile

app = typer.Typer()


@app.command(epilog=examples("tunefleet subsets study.yaml --configs 12 --subset 0.1 --subset 0.25"))
def subsets(
    file: StudyFile,
    configs: Annotated[int, typer.Option(min=4, max=1_000, help="How many random configurations are trained.")] = 12,
    subset: Annotated[
        list[float] | None,
        typer.Option(
            help="A share of the training part; may be given again.  [default: 0.1, 0.25]", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure whether a subset of the data may be searched on, before `data.subset` is trusted.

    Random configurations are trained on each subset and on the whole, on this machine. Below a rank correlation of 0.6
    a subset chooses other configurations than the whole would. No master is needed; the worker must be installed here.
    """
    from tunefleet.cli.child_processes import run_worker

    # Absolute, so that no file's name reads as an option.
    arguments = [
        "subsets",
        str(file.absolute()),
        f"--configs={configs}",
        *(f"--subset={share}" for share in subset or ()),
    ]
    raise typer.Exit(run_worker(*arguments, *(["--json"] if as_json else [])))
