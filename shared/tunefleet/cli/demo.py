"""`tunefleet demo`: a complete small study with one command."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunefleet.cli import output
from tunefleet.cli.options import LONG_RETRY_S, connected, examples

if TYPE_CHECKING:
    from tunefleet.client.study import Study
    from tunefleet.protocol import TrialView

app = typer.Typer()

MAX_SLOTS = 4
WORKERS_START_S = 30.0  # enough for a slow laptop
STUDY_FILE = Path(__file__).with_name("demo.yaml")


@app.command(epilog=examples("tunefleet demo --out my-first-model"))
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the best model.")] = Path("tunefleet-demo"),
    keep: Annotated[bool, typer.Option("--keep", help="Keep the master's data and print its folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")] = False,
) -> None:
    """Run a small study on this machine, in under a minute.

    The demo starts a master and a worker, checks that the networks can learn at all, and trains twelve of them on
    handwritten digits. It prints findings and wrong predictions, and scores the best model on images that no trial
    has used. It needs no network access and leaves no process running.
    """
    from tunefleet.cli.child_processes import Interrupted

    begun = time.monotonic()
    try:
        with _data_folder(keep) as data:
            result = _run(data, out, as_json)
    except Interrupted as error:
        output.print_message("Interrupted. No process is left running.")
        raise typer.Exit(130) from error
    result["elapsed_s"] = round(time.monotonic() - begun, 2)
    if as_json:
        typer.echo(json.dumps(result))


def _run(data: Path, out: Path, as_json: bool) -> dict[str, Any]:
    from tunefleet.cli.child_processes import process_tree
    from tunefleet.cli.live_progress import watch_study
    from tunefleet.cli.local_fleet import start_fleet

    output.print_message("Starting a master and a worker ...")
    slots = max(1, min(MAX_SLOTS, os.cpu_count() or 1))
    # The demo ignores the user's settings, such as a database, a port or a token.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNEFLEET_")}
    with process_tree(data / "logs", environment) as tree:
        fleet = start_fleet(tree, data=data, port=0, n_workers=1, slots=slots, token=None)
        output.print_message(f"The dashboard, until the demo ends: {fleet.url}")
        with connected(fleet.url, None, retry_for_s=LONG_RETRY_S) as client:
            study = client.submit(STUDY_FILE)
            watch_study(study, workers_start_s=WORKERS_START_S)
            return _print_results(study, out, as_json)


def _print_results(study: Study, out: Path, as_json: bool) -> dict[str, Any]:
    """Print the trials, the best trial's model, and its score on the test part, which only this function reads."""
    from tunefleet.cli.diagnosis_summary import show_diagnosis
    from tunefleet.errors import TunefleetError

    view = study.view()
    trials = list(study.trials(sort="-value"))
    screen = output.console(stderr=as_json)
    screen.print(output.trial_table(trials, title="All trials, the best first"))
    best = view.best
    if best is None or best.value is None:
        raise TunefleetError(
            "No trial of the demo completed.", hint="Run the demo again with --keep, and read the logs in its folder."
        )
    files = _download_best(study, best, out)
    diagnosis = show_diagnosis(study, best.number, out=out, screen=screen)
    score = _test_score(out)
    model = next(path for path in files if path.suffix == ".safetensors")
    facts = [
        ["best configuration", output.params_text(best.params)],
        ["validation accuracy", f"{best.value:.4f}"],
        ["test accuracy", f"{score:.4f}  (on the test part, which no trial has used)"],
        ["model", str(model)],
        ["to score it again", f"{output.command_for('tunefleet-worker')} test {shlex.quote(str(out))}"],
    ]
    screen.print(output.table(["", ""], facts), markup=False)
    return {
        "study": study.name,
        "trials": {state.value: count for state, count in view.trials.items() if count},
        "best": {
            "number": best.number,
            "params": output.plain(best.params),
            "val_accuracy": best.value,
            "test_accuracy": score,
            "model": str(model.resolve()),
        },
        "clinic": diagnosis,
    }


def _download_best(study: Study, best: TrialView, out: Path) -> list[Path]:
    """Download the best trial's files into the folder `out`, over those of an earlier run."""
    with tempfile.TemporaryDirectory(prefix="tunefleet-demo-") as folder:
        names = [path.name for path in study.download(best.number, folder)]
        out.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(Path(folder) / name, out / name)
    return [out / name for name in names]


def _test_score(folder: Path) -> float:
    """Return the model's accuracy on the test part, measured in a separate process."""
    from tunefleet.errors import TunefleetError

    ran = subprocess.run(
        [sys.executable, "-m", "tunefleet_worker", "test", str(folder), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        raise TunefleetError(f"The model could not be scored: {ran.stderr.strip()[-2_000:]}")
    return float(json.loads(ran.stdout.strip().splitlines()[-1])["test_accuracy"])


@contextmanager
def _data_folder(keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tunefleet-demo-"))
    try:
        yield folder
    finally:
        if keep:
            output.print_message(
                f"The master's data is in {folder}; continue with: {output.command_for('tunefleet')} up --data {folder}"
            )
        else:
            shutil.rmtree(folder, ignore_errors=True)
