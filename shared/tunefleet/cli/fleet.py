"""`tunefleet up`, which runs a fleet on this machine, and `tunefleet workers`, which lists a fleet's workers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunefleet.cli import output
from tunefleet.cli.options import LONG_RETRY_S, AsJson, Token, Url, connected, examples

if TYPE_CHECKING:
    from datetime import datetime

    from tunefleet.cli.child_processes import ProcessTree
    from tunefleet.protocol import WorkerView
    from tunefleet.study.spec import StudySpec

app = typer.Typer()

POLL_S = 0.5
WORKERS_START_S = 10.0  # until then, missing workers are no reason for a warning
DEFAULT_PORT = 8765


@app.command(
    epilog=examples(
        "tunefleet up                         then, in another terminal: tunefleet submit study.yaml",
        "tunefleet up study.yaml --once       run one study, then end",
    )
)
def up(
    studies: Annotated[
        list[Path] | None,
        typer.Argument(metavar="STUDY.yaml", help="Studies to submit at the start.", show_default=False),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65_535, help="The master's port; 0: any free port.")
    ] = DEFAULT_PORT,
    workers: Annotated[int, typer.Option(metavar="N", min=0, max=64, help="The number of workers.")] = 1,
    slots: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Parallel trials on each worker.  [default: one for each GPU]", show_default=False
        ),
    ] = None,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the master's data.")] = Path(".tunefleet"),
    once: Annotated[bool, typer.Option("--once", help="End when the studies are over.")] = False,
    token: Token = None,
) -> None:
    """Run a master and workers on this machine.

    Ctrl-C (or SIGTERM) stops all of them: running trials save their state, and continue at the next start. A second
    Ctrl-C kills them.
    """
    from tunefleet.cli.child_processes import Interrupted, process_tree
    from tunefleet.cli.local_fleet import default_data_folder, start_fleet
    from tunefleet.client.study_file import load_checked_study

    specs = [load_checked_study(path) for path in studies or []]  # before any process starts
    folder = (data or default_data_folder()).expanduser().absolute()
    try:
        with process_tree(folder / "logs") as tree:
            fleet = start_fleet(tree, data=folder, port=port, n_workers=workers, slots=slots, token=token)
            output.print_message(f"The dashboard: {fleet.url}\nLogs: {tree.log_folder}/    Ctrl-C stops everything.")
            all_succeeded = _run_studies(fleet.url, token, specs) if specs else True
            if not (once and specs):
                _wait(tree)
    except Interrupted:
        output.print_message("Stopped.")
        return
    if not all_succeeded:
        raise typer.Exit(1)


@app.command("workers", epilog=examples("tunefleet workers"))
def list_workers(as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """List the workers: device, slots, last heartbeat, trials."""
    from tunefleet.cli.progress import unclaimed_text

    with connected(url, token) as client:
        status = client.status()
    if as_json:
        output.print_json(status.workers)
        return
    if status.workers:
        rows = [_worker_row(worker, status.now) for worker in status.workers]
        columns = ["worker", "state", "device", "slots", "last heartbeat", "trials", "note"]
        output.console().print(output.table(columns, rows))
    else:
        output.print_message(
            f"No worker has connected yet. Start one: {output.command_for('tunefleet-worker')} run {client.url}"
        )
    for view in status.studies:
        if view.unclaimed:
            output.print_message(unclaimed_text(view))


def _worker_row(worker: WorkerView, now: datetime) -> list[object]:
    from tunefleet.study.durations import spoken

    note = worker.facts.status
    if worker.rests_until is not None:
        note += f"; {spoken((worker.rests_until - now).total_seconds())} left"
    return [
        worker.name,
        _state_of(worker),
        worker.facts.device,
        worker.facts.slots,
        f"{spoken((now - worker.last_beat_at).total_seconds())} ago",
        ", ".join(f"{trial.study}/{trial.number}" for trial in worker.trials),
        note,
    ]


def _state_of(worker: WorkerView) -> str:
    if worker.facts.is_leaving:
        return "leaving" if worker.alive and worker.trials else "disconnected"
    if not worker.alive:
        return "disconnected"
    return "alive" if worker.rests_until is None else "resting"


def _run_studies(url: str, token: str | None, specs: list[StudySpec]) -> bool:
    """Submit the studies and watch one after the other; return True when all of them succeed."""
    from tunefleet.cli.live_progress import watch_study
    from tunefleet.cli.studies import has_succeeded

    with connected(url, token, retry_for_s=LONG_RETRY_S) as client:
        submitted = [client.submit(spec) for spec in specs]
        views = [watch_study(study, workers_start_s=WORKERS_START_S) for study in submitted]
    return all(has_succeeded(view) for view in views)


def _wait(tree: ProcessTree) -> None:
    while True:
        tree.check()
        time.sleep(POLL_S)
