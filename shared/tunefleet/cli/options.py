"""Options that many commands share, and the way from them to a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tunefleet.client.client import Client

SHORT_RETRY_S = 3.0  # somebody waits at the terminal, and the answer is mostly that no master runs
LONG_RETRY_S = 300.0  # a watch should outlive a master's restart

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="TUNEFLEET_URL", help="The master's address.", show_default="http://127.0.0.1:8765"),
]
Token = Annotated[
    str | None, typer.Option("--token", envvar="TUNEFLEET_TOKEN", help="The token that the master asks for.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.", show_default=False)]


@contextmanager
def connected(url: str | None, token: str | None, *, retry_for_s: float = SHORT_RETRY_S) -> Iterator[Client]:
    """A client for the length of one command."""
    from tunefleet.client.client import Client

    with Client(url, token, retry_for_s=retry_for_s) as client:
        yield client


def examples(*lines: str) -> str:
    """The end of a command's help, each example on a line of its own."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])
