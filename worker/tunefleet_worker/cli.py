"""`tunefleet-worker run | test | preflight | health | audit | subsets`; what imports long waits for its command."""

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
HEALTHY_S = 60.0  # a lease: whoever is silent for longer has lost its trials

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
        str | None, typer.Option(envvar="TUNEFLEET_TOKEN", help="What the master asks for, if it does.")
    ] = None,
    labels: Annotated[str, typer.Option(help="Labels that studies may ask for, such as a100,fast.")] = "",
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run functions and commands of users, not only built-in tasks.")
    ] = False,
    folder: Folder = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Processor threads of a trial.  [default: the cores, divided by the slots]"),
    ] = None,
    checkpoint_every: Annotated[
        float,
        typer.Option(min=0, help="Least seconds between two checkpoints; 0: after each epoch, whatever it costs."),
    ] = 10.0,
    preload: Annotated[
        bool,
        typer.Option(help="Import torch before the first trial, which takes seconds; without, trials that need it do."),
    ] = True,
    log_format: Annotated[
        str, typer.Option(envvar="TUNEFLEET_LOG_FORMAT", help="text, or json: one object for each line.")
    ] = "text",
    study: Annotated[str | None, typer.Option(help="Take trials of this study only.")] = None,
    exit_when_idle: Annotated[
        float | None, typer.Option(min=0, help="Leave after so many seconds without a trial.")
    ] = None,
    drain_within: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="From SIGTERM to the end, whatever trials and master do."),
    ] = 25.0,
    rest: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=2_880,
            metavar="SECONDS",
            help="Rest so long after three different trials failed in a row, then try one; twice as long each time, "
            "up to 30 times.",
        ),
    ] = 60.0,
) -> None:
    """Run trials until SIGTERM or Ctrl-C, which saves them and gives them back; a second one stops at once.

    Exit codes: 0 drained, or idle long enough; 1 stopped at once, or idle while it rests; 2 could not start.
    """
    signal.signal(signal.SIGTERM, _leave)  # until the agent takes it over; so far nothing has to be saved
    from tunefleet import logs
    from tunefleet_worker.agent import assembly, devices

    os.environ.pop("TUNEFLEET_TOKEN", None)  # no concern of the code that trials run
    assigned = devices.assign_gpus(devices.choose_gpus(devices.find_gpus(), gpus), slots=slots, gpus_per_slot=gpus_per_slot)
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
    """Score a downloaded model on the sealed test part of its data, which is kept in test-openings.jsonl beside it.

    Exit codes: 0 scored; 2 there is no model in the folder, or its data is not here.
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
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study; its code is run.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look here whether a study's function can learn at all; `tunefleet check --run` does it, too.

    Exit codes: 0 it passed; 1 the study would be blocked; 2 it could not be looked at.
    """
    from tunefleet_worker.preflight.local import inspect_file

    report = inspect_file(file)
    print(report.model_dump_json() if json else report.finding or "passed")
    if not report.passed:
        raise typer.Exit(1)


@app.command()
def health(*, name: Name = None, folder: Folder = None) -> None:
    """Tell whether this machine's worker is in touch with its master.

    Exit codes: 0 the master answered it within the last minute; 1 it did not.
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
    """The console entry: an error that Tunefleet can explain is one line and exit code 2."""
    try:
        app()
    except TunefleetError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)
