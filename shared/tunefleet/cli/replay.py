"""`tunefleet replay`: check that a study's configurations are reproducible."""

from __future__ import annotations

import typer

from tunefleet.cli.options import AsJson, MasterDatabase, MasterFolder, StudyName, examples

app = typer.Typer()


@app.command(
    epilog=examples(
        "tunefleet replay digits --data ~/.local/share/tunefleet         on the master's machine",
        "tunefleet replay digits --database postgresql://tunefleet@localhost/tunefleet",
    )
)
def replay(
    study: StudyName,
    data: MasterFolder = None,
    database: MasterDatabase = None,
    as_json: AsJson = False,
) -> None:
    """Derive a study's configurations again, and compare them.

    The command derives each configuration from the study's seed and the results that its sampler knew at the time;
    the number of workers does not matter. It prints every difference; the exit code is 1 if there is one. It reads the
    master's database, also while a master runs.
    """
    from tunefleet.cli.child_processes import run_master

    raise typer.Exit(run_master("replay", study, data=data, database=database, as_json=as_json))
