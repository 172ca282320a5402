"""The overhead of Tunefleet: starting a trial, and running one.

start: from the end of one training function to the first line of the next, on one warm slot. It holds the end's
    delivery, the claim, the
       process, and loading the user's module. Beside it: a fresh Python process that imports torch, which is what
       a worker without a forkserver pays.
speed: a training loop through `trial.epochs` and `trial.report`, with checkpoints as by default, against the bare
    loop in a process of
       its own; the same model, data, threads and number of steps, in turn.

watch: a loop of about 100 updates a second with `trial.watch` and without it, in turn in one process; processor time.

python benchmarks/overhead.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from tunefleet import Client
from tunefleet.protocol import StudyState

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

MAX_START_S = 0.1
MIN_SPEED = 0.98
MAX_WATCH = 0.02

STAMPS = """
import os, time

def train(trial, x):
    began = time.time()
    trial.report(loss=x)
    with open(os.environ["STAMPS"], "a") as file:
        file.write(f"{began} {time.time()}\\n")
"""

# About 50 ms of work in a step, as a small epoch has; the loop's own clock, so that imports do not count.
LOOP = """
import os, time
import torch

torch.set_num_threads(1)

def work(steps, report):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    x, y = torch.randn(2048, 256), torch.randint(10, (2048,))
    began = time.perf_counter()
    for step in steps(model, optimizer):
        for rows in torch.randperm(2048).split(64):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        report(loss.item())
    with open(os.environ["SECONDS"], "a") as file:
        file.write(f"{time.perf_counter() - began}\\n")

def train(trial, x):
    work(lambda model, optimizer: trial.epochs(model=model, optimizer=optimizer), lambda loss: trial.report(loss=loss))

if __name__ == "__main__":
    n = int(os.environ["STEPS"])
    work(lambda model, optimizer: range(n), lambda loss: None)
"""


@dataclass(frozen=True)
class Row:
    """One figure: ours, what it is compared with, their ratio, and the bound that it must keep."""

    name: str
    ours: float
    peer: float
    ratio: float
    floor: float
    ok: bool


@contextmanager
def fleet(folder: Path, environment: dict[str, str]) -> Iterator[Client]:
    """A master and a worker of one slot and one thread."""
    url = folder / "url"
    python = [sys.executable, "-m"]
    serve = ["tunefleet_master", "serve", "--port", "0", "--data", str(folder / "master"), "--announce", str(url)]
    with (folder / "log").open("wb") as log:
        both = {"env": {**os.environ, **environment}, "stdout": log, "stderr": log}
        master = subprocess.Popen([*python, *serve], **both)  # type: ignore[call-overload]
        while not url.exists() or not url.read_text():
            time.sleep(0.05)
        options = ["--allow-code", "--gpus", "none", "--threads", "1", "--folder", str(folder / "worker")]
        worker = subprocess.Popen([*python, "tunefleet_worker", "run", url.read_text().strip(), *options], **both)  # type: ignore[call-overload]
        try:
            yield Client(url.read_text().strip())
        finally:
            for process in (worker, master):
                process.terminate()
                process.wait()


def run(client: Client, code: str, *, name: str, trials: int, steps: int | None) -> None:
    """Run a study of this code to its end."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.py").write_text(code)
        study = client.submit(
            {
                "name": name,
                "objective": {"metric": "loss", "goal": "minimize"},
                "run": {"function": "train:train", "code": folder},
                "space": {"x": {"float": [0, 1]}},
                "search": {"sampler": "random"},
                "steps": steps,
                "budget": {"trials": trials},
            }
        )
    study.wait()
    view = study.view()
    if view.state is not StudyState.COMPLETE or view.trials != {"complete": trials}:
        raise SystemExit(f"the benchmark's study ended otherwise: {view.state}, {view.message}, {view.trials}")


def start_row(*, trials: int) -> Row:
    """The cost of starting a trial on a warm worker; seconds."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        stamps = folder / "stamps"
        with fleet(folder, {"STAMPS": str(stamps)}) as client:
            run(client, STAMPS, name="start", trials=trials, steps=None)
        times = [tuple(map(float, line.split())) for line in stamps.read_text().splitlines()]
    gaps = [began - ended for (_, ended), (began, _) in pairwise(times)]
    ours = statistics.median(gaps[2:])  # the first two warm the slot up
    return Row("trial start, s", ours, peer := fresh_process_s(), ours / peer, MAX_START_S, ours <= MAX_START_S)


def fresh_process_s() -> float:
    """A Python process that imports torch; seconds."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def speed_row(*, pairs: int, seconds: float) -> Row:
    """The speed of a loop in a trial, as a share of the bare loop's."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        script, bare, ours = folder / "loop.py", folder / "bare", folder / "ours"
        script.write_text(LOOP)
        steps = max(20, round(20 * seconds / bare_s(script, bare, steps=20)))
        bare.unlink()
        with fleet(folder, {"SECONDS": str(ours)}) as client:
            for pair in range(pairs):
                bare_s(script, bare, steps=steps)
                run(client, LOOP, name=f"speed-{pair}", trials=1, steps=steps)
        bare_seconds, our_seconds = ([float(line) for line in file.read_text().split()] for file in (bare, ours))
    ratio = statistics.median(b / o for b, o in zip(bare_seconds, our_seconds, strict=True))
    return Row(
        f"speed of a {seconds:g} s trial, steps/s",
        steps / statistics.median(our_seconds),
        steps / statistics.median(bare_seconds),
        ratio,
        MIN_SPEED,
        ratio >= MIN_SPEED,
    )


def watch_row(*, updates: int) -> Row:
    """Return the cost of watching as a share of the CPU time of unwatched training; the peer column has wall time."""
    from benchmarks.overheads.watching import watch_cost

    cost = watch_cost(updates=updates)
    name = f"watch, share at {cost.updates_per_s:.0f} updates/s"
    return Row(name, cost.processor, cost.wall, 1 + cost.processor, MAX_WATCH, cost.processor <= MAX_WATCH)


def bare_s(script: Path, out: Path, *, steps: int) -> float:
    """The bare loop's seconds, by its own clock."""
    environment = {**os.environ, "SECONDS": str(out), "STEPS": str(steps), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(script)], check=True, env=environment)
    return float(out.read_text().split()[-1])


def main() -> None:
    """Measure all of them and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, under a minute")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    arguments = parser.parse_args()
    rows = [
        start_row(trials=20 if arguments.quick else 100),
        speed_row(pairs=1, seconds=5) if arguments.quick else speed_row(pairs=5, seconds=30),
        watch_row(updates=1_000 if arguments.quick else 3_000),
    ]
    for row in rows:
        verdict = f"{'ok' if row.ok else 'FALLS SHORT'} (bound {row.floor})"
        print(f"{row.name:36} {row.ours:9.4f}  beside {row.peer:9.4f}  ratio {row.ratio:.4f}  {verdict}")
    if arguments.json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
