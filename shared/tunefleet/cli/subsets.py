"""`tunefleet subsets`: test how well subsets of the data rank configurations."""

from __future__ import annotations

from typing import Annotated

import typer

from tunefleet.cli.options import AsJson, examples
from tunefleet.cli.studies import StudyFile

app = typer.Typer()


@app.command(epilog=examples("tunefleet subsets study.yaml --configs 12 --subset 0.1 --subset 0.25"))
def subsets(
    file: StudyFile,
    configs: Annotated[
        int, typer.Option(metavar="N", min=4, max=1_000, help="The number of random configurations.")
    ] = 12,
    subset: Annotated[
        list[float] | None,
        typer.Option(
            metavar="SHARE", help="A share of the training part; repeatable.  [default: 0.1, 0.25]", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Test how well subsets of the data rank configurations.

    Use the result to choose `data.subset`. The command trains random configurations on each subset and on all data, on
    this machine. A subset with a rank correlation below 0.6 selects other configurations than all data would. No master
    is needed; the worker must be installed here.
    """
    from tunefleet.cli.child_processes import run_worker

    # An absolute path cannot be mistaken for an option.
    arguments = [
        "subsets",
        str(file.absolute()),
        f"--configs={configs}",
        *(f"--subset={share}" for share in subset or ()),
    ]
    raise typer.Exit(run_worker(*arguments, *(["--json"] if as_json else [])))
