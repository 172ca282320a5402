"""`tunefleet-worker run | test | preflight | health | audit | subsets`; commands import heavy modules themselves."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from tunefleet.errors import TunefleetError
from tunefleet_worker import data_commands

EXIT_UNHEALTHY = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
LOG_TEXT = "%(asctime)s %(message)s"
HEALTHY_S = 60.0  # the duration of a lease: a worker that is silent for longer has lost its trials

app = typer.Typer(
    help="The worker of Tunefleet: claims trials from a master and trains them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_commands.app)

Name = Annotated[
    str | None, typer.Option(envvar="TUNEFLEET_WORKER_NAME", help="The worker's name.  [default: this machine's]")
]
Folder = Annotated[
    Path | None,
    typer.Option(envvar="TUNEFLEET_WORKER_FOLDER", help="Its files.  [default: ~/.cache/tunefleet/worker-NAME]"),
]


@app.command("run")
def run_worker(
    url: Annotated[str, typer.Argument(envvar="TUNEFLEET_URL", help="The master, such as http://127.0.0.1:8765.")],
    *,
    slots: Annotated[
        int | None, typer.Option(min=1, max=256, help="Trials at once.  [default: one per GPU, or 1]")
    ] = None,
    gpus: Annotated[str, typer.Option(help="GPUs to use: all, none, or ids such as 0,1.")] = "all",
    gpus_per_slot: Annotated[int, typer.Option(min=1, max=64, help="GPUs that one trial sees.")] = 1,
    name: Name = None,
    token: Annotated[
        str | None, typer.Option(envvar="TUNEFLEET_TOKEN", help="The master's token, if it requires one.")
    ] = None,
    labels: Annotated[str, typer.Option(help="Labels that studies may ask for, such as a100,fast.")] = "",
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run functions and commands of users, not only built-in tasks.")
    ] = False,
    folder: Folder = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads of a trial.  [default: the cores divided by the slots]"),
    ] = None,
    checkpoint_every: Annotated[
        float,
        typer.Option(min=0, help="Minimum seconds between two checkpoints; 0: after each epoch, whatever it costs."),
    ] = 10.0,
    preload: Annotated[
        bool,
        typer.Option(help="Import torch once, at the start; without it, each trial that needs torch imports it."),
    ] = True,
    log_format: Annotated[
        str, typer.Option(envvar="TUNEFLEET_LOG_FORMAT", help="text, or json: one object per line.")
    ] = "text",
    study: Annotated[str | None, typer.Option(help="Take trials of this study only.")] = None,
    exit_when_idle: Annotated[
        float | None, typer.Option(min=0, help="Exit after this many seconds without a trial.")
    ] = None,
    drain_within: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="Maximum time from SIGTERM to exit."),
    ] = 25.0,
    rest: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=2_880,
            metavar="SECONDS",
            help="Claim no trial for this long after three different trials failed in a row, then claim one. The time "
            "doubles with each further failure, up to 30 times.",
        ),
    ] = 60.0,
) -> None:
    """Run trials until SIGTERM or Ctrl-C, which saves and releases them; a second one stops at once.

    Exit codes: 0 drained, or idle for long enough; 1 stopped at once, or idle after failures; 2 could not start.
    """
    signal.signal(signal.SIGTERM, _leave)  # until the agent installs its handler: nothing has to be saved yet
    from tunefleet import logs
    from tunefleet_worker.agent import assembly, devices

    os.environ.pop("TUNEFLEET_TOKEN", None)  # hidden from the code of trials
    chosen = devices.choose_gpus(devices.find_gpus(), gpus)
    assigned = devices.assign_gpus(chosen, slots=slots, gpus_per_slot=gpus_per_slot)
    settings = assembly.AgentSettings.parse(
        {
            "url": url,
            "token": token or None,
            "name": name or assembly.default_name(),
            "labels": [label.strip() for label in labels.split(",") if label.strip()],
            "folder": folder,
            "threads": threads,
            "checkpoint_every_s": checkpoint_every,
            "preload": preload,
            "allow_code": allow_code,
            "log_format": log_format,
            "study": study,
            "exit_when_idle_s": exit_when_idle,
            "drain_within_s": drain_within,
            "cooldown_s": rest,
        }
    )
    logs.configure("info", settings.log_format, stream=sys.stdout, text=LOG_TEXT, fields={"worker": settings.name})
    agent = assembly.assemble(settings, assigned)
    raise typer.Exit(agent.run())


@app.command("test")
def score_model(
    folder: Annotated[Path, typer.Argument(help="A folder with model.json and model.safetensors, as downloaded.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a downloaded model on the sealed test part of its data; test-openings.jsonl beside it counts the openings.

    Exit codes: 0 scored; 2 the folder has no model, or its data is not on this machine.
    """
    from json import dumps

    from tunefleet_worker.tasks.evaluation import evaluate_saved_model

    found = evaluate_saved_model(folder, part="test")
    if json:
        facts = {"test_accuracy": found.accuracy, "test_loss": found.loss, "samples": found.samples}
        print(dumps({**facts, "opening": found.opening}))
    else:
        print(f"test accuracy {found.accuracy:.4f}, test loss {found.loss:.4f} ({found.samples} samples)")
        print(f"the test part was opened for this model {found.opening or 'an unknown number of'} times")


@app.command("preflight")
def run_preflight(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study; its code runs on this machine.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check on this machine that a study's function can learn at all, as `tunefleet check --run` does.

    Exit codes: 0 passed; 1 the study would be blocked; 2 the check could not run.
    """
    from tunefleet_worker.preflight.local import inspect_file

    report = inspect_file(file)
    print(report.model_dump_json() if json else report.finding or "passed")
    if not report.passed:
        raise typer.Exit(1)


@app.command()
def health(*, name: Name = None, folder: Folder = None) -> None:
    """Check that this machine's worker reaches its master.

    Exit codes: 0 the master answered within the last minute; 1 it did not.
    """
    from tunefleet_worker.agent import assembly
    from tunefleet_worker.agent.worker_folder import WorkerFolder

    worker_folder = WorkerFolder(folder or assembly.default_folder(name or assembly.default_name()))
    age_s = worker_folder.heartbeat_age_s()
    if age_s is not None and age_s <= HEALTHY_S:
        print(f"healthy: the master answered {age_s:.0f} s ago")
        return
    since = "never" if age_s is None else f"{age_s:.0f} s ago"
    print(f"unhealthy: the master last answered {since} (folder {worker_folder.folder})", file=sys.stderr)
    raise typer.Exit(EXIT_UNHEALTHY)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def run() -> NoReturn:
    """Run the command line; print a TunefleetError as one line and exit with code 2."""
    try:
        app()
    except TunefleetError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)
