"""The gain of systematic search on real training: a coarse-to-fine study with early stopping, against random search.

A convolutional network on mnist1d, four workers, wide ranges. First the study: 60 trials in two stages, the sampler
that `auto` takes, stopped early by `asha`. Then random search with trials in full, on the same workers, until as much
time has passed. The best model of each, by its validation accuracy, is scored on the sealed test part, which neither
has seen.

Wall-clock time counts, so nothing else should run on the machine. --fleet N uses more or fewer workers.

python benchmarks/training.py [--quick] [--seeds N] [--fleet N] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunefleet import Client
from tunefleet.client.study import Study
from tunefleet.protocol import StudyState, TrialState

STEPS = 12
STARTS_WITHIN_S = 60.0

STUDY: dict[str, Any] = {
    "objective": {"metric": "val_accuracy", "goal": "maximize"},
    "run": {"task": "image_classification", "dataset": "mnist1d"},
    "space": {
        "lr": {"log": [1e-6, 1.0]},
        "weight_decay": {"log": [1e-6, 1.0]},
        "batch_size": {"int": [32, 512], "log": True},
        "optimizer": ["sgd", "adamw"],
        "momentum": {"float": [0.0, 0.99], "when": "optimizer == 'sgd'"},
        "depth": {"int": [1, 4]},
        "width": {"int": [4, 32], "log": True},
        "dropout": {"float": [0.0, 0.7]},
        "activation": ["relu", "gelu", "tanh"],
    },
}
SYSTEMATIC: dict[str, Any] = {
    "stages": [{"trials": 40, "steps": 4}, {"trials": 20, "steps": STEPS, "keep": 0.25}],
    "pruning": {"pruner": "asha", "eta": 3},
    "budget": {"trials": 60},
}
RANDOM: dict[str, Any] = {"steps": STEPS}


@dataclass(frozen=True)
class Result:
    """The result of a search.

    Attributes:
        test, validation: accuracy of the best trial.
        trials: how many ended with a result; complete: how many of them ran in full.
        wall_s: of the search.
    """

    test: float
    validation: float
    trials: int
    complete: int
    wall_s: float


@contextmanager
def fleet(folder: Path, n_workers: int) -> Iterator[Client]:
    """A master and its workers, of one thread each, as processes of their own."""
    url, log = folder / "url", (folder / "log").open("wb")
    python = [sys.executable, "-m"]
    serve = ["tunefleet_master", "serve", "--data", str(folder / "data"), "--port", "0", "--announce", str(url)]
    started = [subprocess.Popen([*python, *serve], stdout=log, stderr=log)]
    try:
        end = time.monotonic() + STARTS_WITHIN_S
        while not url.exists():
            if time.monotonic() > end:
                raise SystemExit(f"the master does not start; see {folder / 'log'}")
            time.sleep(0.05)
        address = url.read_text().strip()
        for i in range(n_workers):
            options = ["--name", f"w{i}", "--folder", str(folder / f"w{i}"), "--gpus", "none", "--threads", "1"]
            command = [*python, "tunefleet_worker", "run", address, *options]
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        with Client(address) as client:
            while len(client.workers()) < n_workers:
                if time.monotonic() > end:
                    raise SystemExit(f"the workers do not come; see {folder / 'log'}")
                time.sleep(0.05)
            yield client
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
        log.close()


def search(client: Client, spec: dict[str, Any], *, name: str, within_s: float | None, folder: Path) -> Result:
    """Run a study to its end, or for so long; what its best trial is worth."""
    began = time.monotonic()
    study = client.submit({"name": name, **STUDY, **spec})
    if within_s is None:
        study.wait()
    else:
        while time.monotonic() - began < within_s:
            time.sleep(0.1)
        study.stop()
    wall_s = time.monotonic() - began
    if within_s is None and study.view().state is not StudyState.COMPLETE:
        raise SystemExit(f"study {name} ended otherwise: {study.view().message}")
    return scored(study, wall_s=wall_s, folder=folder / name)


def scored(study: Study, *, wall_s: float, folder: Path) -> Result:
    """The best complete trial, on the part of the data that nobody has seen."""
    from tunefleet_worker.tasks.evaluation import evaluate_saved_model

    best = study.best()
    if best is None or best.value is None:
        raise SystemExit(f"study {study.name} has no complete trial")
    study.download(best.number, folder)
    counts = study.view().trials
    complete = counts.get(TrialState.COMPLETE, 0)
    accuracy = evaluate_saved_model(folder, part="test").accuracy
    return Result(accuracy, best.value, complete + counts.get(TrialState.PRUNED, 0), complete, wall_s)


def pair(seed: int, *, n_workers: int) -> tuple[Result, Result]:
    """Both searches with this seed, one after the other on one fleet."""
    with tempfile.TemporaryDirectory() as place, fleet(Path(place), n_workers) as client:
        ours = {**SYSTEMATIC, "search": {"seed": seed}, "data": {"seed": seed}}
        systematic = search(client, ours, name="systematic", within_s=None, folder=Path(place))
        theirs = {**RANDOM, "search": {"sampler": "random", "seed": seed}, "data": {"seed": seed}}
        random = search(client, theirs, name="random", within_s=systematic.wall_s, folder=Path(place))
    return systematic, random


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--seeds", type=int, help="how many times both are run; 5 unless given")
    parser.add_argument("--fleet", type=int, default=4, help="how many workers; 4 unless given")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    arguments = parser.parse_args()
    n_seeds = arguments.seeds or (1 if arguments.quick else 5)
    pairs = []
    print(f"{'seed':>4}  {'search':12}{'test':>8}{'validation':>12}{'trials':>8}{'in full':>9}{'seconds':>9}")
    for seed in range(n_seeds):
        pairs.append(pair(seed, n_workers=arguments.fleet))
        for name, it in zip(("stages + asha", "random"), pairs[-1], strict=True):
            print(
                f"{seed:4}  {name:14}{it.test:6.3f}{it.validation:12.3f}{it.trials:8}{it.complete:9}{it.wall_s:9.0f}",
                flush=True,
            )
    ours, theirs = (statistics.mean(each[i].test for each in pairs) for i in (0, 1))
    wins = sum(systematic.test > random.test for systematic, random in pairs)
    verdict = "ok" if ours > theirs else "FALLS SHORT"
    print(f"mean test accuracy {ours:.4f} against {theirs:.4f}; better on {wins} of {len(pairs)} seeds: {verdict}")
    if arguments.json:
        print(json.dumps([[asdict(result) for result in each] for each in pairs]))


if __name__ == "__main__":
    main()
