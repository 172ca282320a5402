"""`tunefleet doctor`: what a study shows, and its edits; without a study, how this machine and its master get on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunefleet.cli import output
from tunefleet.cli.options import AsJson, Token, Url, connected, examples

if TYPE_CHECKING:
    from tunefleet.client.client import Client

app = typer.Typer()


@app.command(
    epilog=examples(
        "tunefleet doctor digits                       what the study and its trials show",
        "tunefleet doctor digits --trial 7             what the curves of a trial show",
        "tunefleet doctor digits --apply edge          make the edits that the findings `edge` propose",
        "tunefleet doctor                              whether the master can be reached",
        "tunefleet doctor --verify --data ~/.local/share/tunefleet       on the master's machine",
    )
)
def doctor(
    study: Annotated[
        str | None,
        typer.Argument(metavar="STUDY", help="The study; without it, this machine.", show_default=False),
    ] = None,
    apply: Annotated[
        str | None,
        typer.Option(
            "--apply", metavar="CODE", help="Make the edits that findings of a code propose.", show_default=False
        ),
    ] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="Read the curves of this trial.", show_default=False)] = None,
    wait: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Wait so long for the newest answer.")] = 120.0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check everything that the master has stored; on the master's machine.")
    ] = False,
    journal: Annotated[
        list[Path] | None,
        typer.Option(help="What clients were promised (TUNEFLEET_JOURNAL); may be given again.", show_default=False),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The master's folder.", show_default=False)] = None,
    database: Annotated[str | None, typer.Option(help="The master's database.", show_default=False)] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Read a study, or one of its trials, and mend its space; without a study, look at the installation.

    Without a study: whether the master can be reached and fits this version; with --verify, whether its promises are
    kept.
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
    output.console().print(output.table(["what", "found"], list(found.items())))


def _refuse_without_study(*, apply: str | None, trial: int | None) -> None:
    from tunefleet.errors import InvalidInput, Problem

    named = "--apply" if apply is not None else "--trial" if trial is not None else None
    if named is not None:
        raise InvalidInput([Problem(named, "is of a study; name it: tunefleet doctor STUDY")])


def _verify(journals: list[Path], *, data: Path | None, database: str | None, as_json: bool) -> int:
    """Let the master's own program do it, which knows the tables; its exit code."""
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
