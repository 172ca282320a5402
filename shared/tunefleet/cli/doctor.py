"""`tunefleet doctor`: diagnose a study, or check this installation."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunefleet.cli import output
from tunefleet.cli.options import (
    AsJson,
    MasterDatabase,
    MasterFolder,
    Token,
    Url,
    WaitForFindings,
    connected,
    examples,
)

if TYPE_CHECKING:
    from tunefleet.client.client import Client

app = typer.Typer()


@app.command(
    epilog=examples(
        "tunefleet doctor digits                       findings on the study",
        "tunefleet doctor digits --trial 7             findings on the curves of a trial",
        "tunefleet doctor digits --apply edge          apply the edits that findings `edge` propose",
        "tunefleet doctor                              check the connection to the master",
        "tunefleet doctor --verify --data ~/.local/share/tunefleet       on the master's machine",
    )
)
def doctor(
    study: Annotated[
        str | None,
        typer.Argument(metavar="STUDY", help="The study's name; without it, check this machine.", show_default=False),
    ] = None,
    apply: Annotated[
        str | None,
        typer.Option(
            "--apply", metavar="CODE", help="Apply the edits that findings with this code propose.", show_default=False
        ),
    ] = None,
    trial: Annotated[
        int | None,
        typer.Option(metavar="TRIAL", min=0, help="Print the findings on this trial's curves.", show_default=False),
    ] = None,
    wait: WaitForFindings = 120.0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check all data that the master has stored; on the master's machine.")
    ] = False,
    journal: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="With --verify: a client's journal of acknowledged writes (TUNEFLEET_JOURNAL); repeatable.",
            show_default=False,
        ),
    ] = None,
    data: MasterFolder = None,
    database: MasterDatabase = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Diagnose a study or a trial, or check this installation.

    With STUDY, the command prints its findings; --apply edits its space as they propose. Without STUDY, it checks the
    connection to the master and prints both versions; --verify checks the master's stored data.
    """
    if study is not None:
        from tunefleet.cli.apply_findings import show_or_apply

        with connected(url, token) as client:
            show_or_apply(client.study(study), apply=apply, trial=trial, wait_s=wait, as_json=as_json)
        return
    _refuse_without_study(apply=apply, trial=trial)
    if verify:
        raise typer.Exit(_verify(journal or [], data=data, database=database, as_json=as_json))
    with connected(url, token) as client:
        found = _facts(client)
    if as_json:
        output.print_json(found)
        return
    output.console().print(output.table(["fact", "value"], list(found.items())))


def _refuse_without_study(*, apply: str | None, trial: int | None) -> None:
    from tunefleet.errors import InvalidInput, Problem

    named = "--apply" if apply is not None else "--trial" if trial is not None else None
    if named is not None:
        raise InvalidInput([Problem(named, "needs a study; name it: tunefleet doctor STUDY")])


def _verify(journals: list[Path], *, data: Path | None, database: str | None, as_json: bool) -> int:
    """Run the checks in the master's program, which knows the tables; return its exit code."""
    from tunefleet.cli.child_processes import run_master

    arguments = ["doctor", "--verify", *(f"--journal={file}" for file in journals)]
    return run_master(*arguments, data=data, database=database, as_json=as_json)


def _facts(client: Client) -> dict[str, object]:
    from tunefleet import __version__

    asked = datetime.now(UTC)
    status = client.status()
    return {
        "master": client.url,
        "master_version": status.version,
        "version": __version__,
        "clock_ahead_s": round((status.now - asked).total_seconds(), 1),
        "workers_alive": sum(worker.alive for worker in status.workers),
        "studies": len(status.studies),
    }
