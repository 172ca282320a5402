"""`tunefleet-master serve | upgrade | doctor | replay | simulate`; each command imports its slow modules itself."""

from __future__ import annotations

import gc
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tunefleet.errors import TunefleetError

if TYPE_CHECKING:
    from tunefleet_master.settings import Settings

EXIT_BROKEN = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="The master of Tunefleet: stores studies, leases trials to workers and serves the dashboard.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Data = Annotated[
    Path | None,
    typer.Option(
        envvar="TUNEFLEET_HOME", help="Folder of the database and files.  [default: ~/.local/share/tunefleet]"
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(envvar="TUNEFLEET_DATABASE", help="SQLAlchemy URL.  [default: an SQLite file in the data folder]"),
]


@app.command()
def serve(
    *,
    host: Annotated[str, typer.Option(envvar="TUNEFLEET_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="TUNEFLEET_PORT", help="Port to listen on; 0: any free one.")] = 8765,
    data: Data = None,
    database: DatabaseUrl = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="TUNEFLEET_TOKEN", help="An admin token, in addition to those from `tunefleet token`."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            envvar="TUNEFLEET_ALLOWED_HOSTS",
            help="Host name under which browsers reach the master; repeat it, or separate names by spaces.",
        ),
    ] = None,
    rate_limit: Annotated[
        float, typer.Option(envvar="TUNEFLEET_RATE_LIMIT", help="Requests per second that one token may send.")
    ] = 10_000.0,
    lease_s: Annotated[
        float,
        typer.Option(
            "--lease-s", envvar="TUNEFLEET_LEASE_S", help="Seconds without a heartbeat until a lease expires."
        ),
    ] = 60.0,
    keep_curves_days: Annotated[
        float | None,
        typer.Option(
            "--keep-curves-days",
            envvar="TUNEFLEET_KEEP_CURVES_DAYS",
            help="Days after a study's end until its curves are thinned to 100 points each.  [default: never]",
        ),
    ] = None,
    log_level: Annotated[
        str, typer.Option(envvar="TUNEFLEET_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
    log_format: Annotated[
        str, typer.Option(envvar="TUNEFLEET_LOG_FORMAT", help="text, or json: one object per line.")
    ] = "text",
    announce: Annotated[
        Path | None,
        typer.Option(help="File that receives the URL once the master serves requests.", show_default=False),
    ] = None,
) -> None:
    """Run the master until SIGTERM or Ctrl-C.

    Exit codes: 0 stopped; 2 it could not start, and one line on stderr states the reason.
    """
    settings = _settings(
        host=host,
        port=port,
        data=data,
        database=database,
        token=token or None,
        allowed_hosts=allow_host or (),
        rate_limit=rate_limit,
        lease_s=lease_s,
        keep_curves_days=keep_curves_days,
        log_level=log_level,
        log_format=log_format,
    )
    _serve(settings, announce)


@app.command()
def upgrade(*, data: Data = None, database: DatabaseUrl = None) -> None:
    """Migrate the database to this version, and exit. `serve` does it by itself."""
    from tunefleet_master import data_folder
    from tunefleet_master.storage import migrations
    from tunefleet_master.storage.database import Database

    settings = _settings(data=data, database=database)
    data_folder.prepare(settings.data)
    with data_folder.locked(settings.lock_file):
        opened = Database(settings.database_url)
        try:
            done = migrations.upgrade(opened.engine)
        finally:
            opened.close()
    before = done.before or "empty"
    print(f"{before} -> {done.after}" if before != done.after else f"{done.after}: nothing to do")


@app.command()
def doctor(
    *,
    verify: Annotated[bool, typer.Option("--verify", help="Check all stored data, file by file.")] = False,
    journal: Annotated[
        list[Path] | None,
        typer.Option(help="Journal of a client (TUNEFLEET_JOURNAL); repeatable.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    data: Data = None,
    database: DatabaseUrl = None,
) -> None:
    """Show facts of this installation, or check its stored data with --verify; the master may run meanwhile.

    Exit codes: 0 no violation; 1 violations, which are listed; 2 there is no readable database.
    """
    from tunefleet.cli import output
    from tunefleet_master.commands import doctor

    settings = _settings(data=data, database=database)
    if verify:
        if not doctor.show(doctor.checks(settings, journal or []), as_json=as_json):
            raise typer.Exit(EXIT_BROKEN)
    elif as_json:
        output.print_json(doctor.facts(settings))
    else:
        output.console().print(output.table(["what", "here"], list(doctor.facts(settings).items())))


@app.command()
def replay(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    data: Data = None,
    database: DatabaseUrl = None,
) -> None:
    """Repeat every proposal of a study and compare it with the stored one; the master may run meanwhile.

    Exit codes: 0 all are equal; 1 some differ, which are listed; 2 there is no such study or database.
    """
    from tunefleet_master.commands import replay

    found = replay.replayed(_settings(data=data, database=database), study)
    if not replay.show(found, study, as_json=as_json):
        raise typer.Exit(EXIT_BROKEN)


@app.command()
def simulate(
    study: Annotated[Path, typer.Argument(help="The study file, YAML or JSON.")],
    *,
    table: Annotated[Path, typer.Option(help="The table of its finished trials, as `tunefleet export` writes it.")],
    workers: Annotated[int, typer.Option(min=1, help="Number of simulated workers.")] = 8,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs of each sampler and pruner.")] = 5,
    sampler: Annotated[
        list[str] | None, typer.Option(help="Sampler to compare; repeatable.", show_default=False)
    ] = None,
    pruner: Annotated[list[str] | None, typer.Option(help="Pruner to compare; repeatable.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Run a study in virtual time on a table of its finished trials, with several samplers and pruners.

    Exit codes: 0 done; 2 a file, a sampler or a pruner cannot be used, and each problem is named.
    """
    from tunefleet_master.commands import simulate

    found = simulate.prepare(study, table, samplers=sampler or (), pruners=pruner or ())
    simulate.show(found, n_workers=workers, n_seeds=seeds, as_json=as_json)


def run() -> NoReturn:
    """Run the command line; print an error of ours as one line and exit with code 2."""
    try:
        app()
    except TunefleetError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)


def _settings(*, data: Path | None, **fields: object) -> Settings:
    from tunefleet_master.settings import Settings

    return Settings.parse({"data": (data or _default_folder()).expanduser().absolute(), **fields})


def _default_folder() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "tunefleet"


def _serve(settings: Settings, announce: Path | None) -> None:
    gc.disable()  # until the server listens, because imported objects stay
    from tunefleet_master import logs, server
    from tunefleet_master.app import create_app

    logs.configure(settings.log_level, settings.log_format)
    app = create_app(settings)
    with server.bind(settings.host, settings.port) as bound:

        def listening() -> None:
            _print_address(server.url_of(bound), settings, app.version)
            if app.state.first_token is not None:
                _print_token(server.url_of(bound), app.state.first_token)
            if announce is not None:
                _write(announce, server.url_of(bound))

        server.run(app, bound, listening=listening)


def _print_address(url: str, settings: Settings, version: str) -> None:
    database = settings.database_url.partition("@")[2] or settings.database_url  # never the password
    text = f"Tunefleet master on {url} (database {database}, version {version})"
    if settings.log_format == "json":
        logging.getLogger("tunefleet_master").info(text)
    else:
        print(text, file=sys.stderr, flush=True)


def _print_token(url: str, token: str) -> None:
    """Print the first token on stderr, never in the log: only the person who starts the master may see it."""
    text = "The master has no tokens yet, so it created an admin token. It is shown only once. Log in at"
    print(f"{text}\n\n    {url}/login?token={token}\n", file=sys.stderr, flush=True)


def _write(file: Path, url: str) -> None:
    """Write the file atomically, so that nobody reads a part of it."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(f"{url}\n")
    partial.replace(file)
