"""`tunefleet token`: commands on tokens, for admins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tunefleet.cli import output
from tunefleet.cli.options import AsJson, Token, Url, connected, examples

if TYPE_CHECKING:
    from tunefleet.protocol.tokens import TokenView

app = typer.Typer(
    help="Create, list and revoke tokens.",
    epilog=examples("tunefleet token create ci --scope submit", "tunefleet token ls", "tunefleet token revoke ci"),
    no_args_is_help=True,
)

TokenName = Annotated[str, typer.Argument(metavar="NAME", help="The token's name.", show_default=False)]


@app.command(epilog=examples("tunefleet token create ci --scope submit --expires 90d"))
def create(
    name: TokenName,
    scope: Annotated[
        list[str],
        typer.Option(metavar="SCOPE", help="admin, submit, work or read; repeatable.", show_default=False),
    ],
    expires: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The token's lifetime, such as 12h or 90d.", show_default="unlimited"),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Create a token, and print it once.

    The first token of a master must have the scope admin. From then on, every client needs a token.
    """
    with connected(url, token) as client:
        made = client.create_token(name, scope, expires_in_s=expires)
    if as_json:
        output.print_json(made)
        return
    output.print_message(
        f"Created token {made.name} with scope {', '.join(made.scopes)}{_until(made)}. It is shown only once:"
    )
    print(made.token)


@app.command("ls", epilog=examples("tunefleet token ls"))
def list_tokens(as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """List the tokens by name."""
    with connected(url, token) as client:
        tokens = client.tokens()
    if as_json:
        output.print_json(tokens)
        return
    if not tokens:
        output.print_message("There are no tokens yet. Start with: tunefleet token create NAME --scope admin")
        return
    rows = [
        [made.name, ", ".join(made.scopes), made.state, f"{made.created_at:%Y-%m-%d}", _day(made)] for made in tokens
    ]
    output.console().print(output.table(["token", "scopes", "state", "created", "expires"], rows))


@app.command(epilog=examples("tunefleet token revoke ci"))
def revoke(name: TokenName, url: Url = None, token: Token = None) -> None:
    """Revoke a token within seconds.

    Browsers that logged in with it are logged out.
    """
    with connected(url, token) as client:
        client.revoke_token(name)
    output.print_message(f"Revoked token {name}.")


def _until(token: TokenView) -> str:
    return "" if token.expires_at is None else f", valid until {token.expires_at:%Y-%m-%d %H:%M} UTC"


def _day(token: TokenView) -> str | None:
    return None if token.expires_at is None else f"{token.expires_at:%Y-%m-%d}"
