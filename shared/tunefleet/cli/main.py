"""The entry point of `tunefleet`, which collects the commands and translates errors into messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tunefleet import __version__
from tunefleet.cli import (
    check,
    demo,
    doctor,
    findings,
    fleet,
    look,
    recipes,
    replay,
    simulate,
    studies,
    study_control,
    subsets,
    telemetry,
    tokens,
    trial_commands,
)
from tunefleet.errors import Conflict, TunefleetError

EXIT_CODES = """\b
Exit codes:
  0    success
  1    the study or trial failed, stopped or timed out, or its state does not allow the request
  2    invalid input, no such study, or the master cannot be reached
  130  interrupted"""

app = typer.Typer(
    name="tunefleet",
    help="Tune neural networks: a master chooses configurations, and a fleet of workers trains them.\n\n"
    "\b\nStart with\n  tunefleet demo                  a complete small study, in under a minute\n"
    "  tunefleet up study.yaml         a master, workers and your study, all on this machine",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for _group in (
    fleet.app,
    demo.app,
    check.app,
    doctor.app,
    studies.app,
    trial_commands.app,
    telemetry.app,
    findings.app,
    look.app,
    study_control.app,
    recipes.app,
    replay.app,
    simulate.app,
    subsets.app,
):
    app.add_typer(_group)
app.add_typer(tokens.app, name="token")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command; print a message instead of a traceback for every TunefleetError."""
    try:
        app()
    except TunefleetError as error:
        from tunefleet.cli.output import error_lines, print_message

        for line in error_lines(error):
            print_message(line)
        sys.exit(1 if isinstance(error, Conflict) else 2)
