"""`tunefleet replay`: every configuration of a study, derived again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunefleet.cli.options import AsJson, StudyName, examples

app = typer.Typer()


@app.command(
    epilog=examples(
        "tunefleet replay digits --data ~/.local/share/tunefleet         on the master's machine",
        "tunefleet replay digits --database postgresql://tunefleet@localhost/tunefleet",
    )
)
def replay(
    study: StudyName,
    data: Annotated[Path | None, typer.Option(help="The master's folder.", show_default=False)] = None,
    database: Annotated[str | None, typer.Option(help="The master's database.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Derive every configuration of a study again from its seed and from what its sampler knew then.

    It says so if one comes out otherwise; the exit code is 1 then. How many workers there were does not matter. It
    reads the master's database, beside a master that may be running.
    """
    from tunefleet.cli.child_processes import run_master

    raise typer.Exit(run_master("replay", study, data=data, database=database, as_json=as_json))
