"""Options that several commands share, and the client that they configure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tunefleet.client.client import Client

SHORT_RETRY_S = 3.0  # a user waits at the terminal, and the usual cause is that no master runs
LONG_RETRY_S = 300.0  # long enough for a watch to survive a master's restart

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="TUNEFLEET_URL",
        help="The master's address.",
        show_default="http://127.0.0.1:8765",
    ),
]
Token = Annotated[
    str | None, typer.Option("--token", metavar="TOKEN", envvar="TUNEFLEET_TOKEN", help="A token for the master.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.", show_default=False)]
TrialNumber = Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="The trial's number.", show_default=False)]
WaitForFindings = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="The longest wait for findings on the newest trials.")
]
MasterFolder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The folder of the master's data.", show_default=False)
]
MasterDatabase = Annotated[
    str | None, typer.Option(metavar="URL", help="The URL of the master's database.", show_default=False)
]


@contextmanager
def connected(url: str | None, token: str | None, *, retry_for_s: float = SHORT_RETRY_S) -> Iterator[Client]:
    """Open a client for one command, and close it at the end of the block."""
    from tunefleet.client.client import Client

    with Client(url, token, retry_for_s=retry_for_s) as client:
        yield client


def examples(*lines: str) -> str:
    """Return the examples at the end of a command's help, each on its own line."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])
