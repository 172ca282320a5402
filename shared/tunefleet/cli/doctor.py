"""`tunefleet doctor`: how this machine and its master get on, and whether what the master has stored is sound."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunefleet.cli import output
from tunefleet.cli.options import AsJson, Token, Url, connected, examples

if TYPE_CHECKING:
    from tunefleet.client import Client

app = typer.Typer()


@app.command(
    epilog=examples(
        "tunefleet doctor",
        "tunefleet doctor --verify --data ~/.local/share/tunefleet       on the master's machine",
    )
)
def doctor(
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
    """Tell whether the master can be reached and fits this version; with --verify, whether its promises are kept."""
    if verify:
        raise typer.Exit(_verify(journal or [], data=data, database=database, as_json=as_json))
    with connected(url, token) as client:
        found = _facts(client)
    if as_json:
        output.print_json(found)
        return
    output.console().print(output.table(["what", "found"], list(found.items())))


def _verify(journals: list[Path], *, data: Path | None, database: str | None, as_json: bool) -> int:
    """Let the master's own program do it, which knows the tables; its exit code."""
    from tunefleet.cli.processes import run_master

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
