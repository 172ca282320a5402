"""The cost of a proposal as a study grows: CPU seconds and memory, against their bounds.

Each row is a process of its own that folds a study's past into a history and asks a sampler, as the samplers' process
of a master does. The space has ten parameters: five real ones, two whole numbers, two choices, and one under a
condition. CPU seconds are the median of several proposals, each behind one more result; memory is the process' largest,
its imports included.

python benchmarks/proposals.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

SPACE: dict[str, Any] = {
    "lr": {"log": [1e-6, 1.0]},
    "weight_decay": {"log": [1e-6, 1.0]},
    "dropout": {"float": [0.0, 0.7]},
    "warmup": {"float": [0.0, 0.5]},
    "smoothing": {"float": [0.0, 0.3]},
    "depth": {"int": [1, 12]},
    "width": {"int": [16, 1024], "log": True},
    "activation": ["relu", "gelu", "tanh"],
    "optimizer": ["sgd", "adamw"],
    "momentum": {"float": [0.0, 0.99], "when": "optimizer == 'sgd'"},
}
FLEET = 64


@dataclass(frozen=True)
class Case:
    """A sampler and how many trials are held; `budget` is what `auto` goes by."""

    what: str
    sampler: str
    held: int
    bound: float
    budget: int | None = None


CASES = (
    Case("tpe, CPU s a proposal", "tpe", 10_000, 0.015),
    Case("gp, CPU s a proposal", "gp", 200, 0.4),
    Case("auto, CPU s a proposal", "auto", 100_000, 0.5, budget=200_000),
    Case(f"gp, s until {FLEET} that ask at once are served", "gp", 200, 3.0),
    Case("memory of the samplers' process, MB", "auto", 100_000, 300.0, budget=200_000),
)


@dataclass(frozen=True)
class Row:
    """One figure and its bound."""

    what: str
    sampler: str
    held: int
    value: float
    bound: float
    ok: bool


def measured(case: Case, *, repeats: int) -> Row:
    """The case in a fresh process."""
    arguments = [sys.executable, __file__, "--case", str(CASES.index(case)), "--repeats", str(repeats)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    sampler, value = json.loads(done.stdout.splitlines()[-1])
    return Row(case.what, sampler, case.held, value, case.bound, value <= case.bound)


def run(case: Case, *, repeats: int) -> tuple[str, float]:
    """The sampler that was taken, and the figure."""
    from tunefleet.study.spec import StudySpec
    from tunefleet_master.search import registry
    from tunefleet_master.search.history import Change, History, Outcome
    from tunefleet_master.search.random import RandomSampler

    spec = StudySpec.parse(
        {
            "name": "bench",
            "objective": {"metric": "loss", "goal": "minimize"},
            "run": {"function": "bench:train"},
            "space": SPACE,
            "search": {"sampler": case.sampler},
            "budget": {} if case.budget is None else {"trials": case.budget},
        }
    )
    name = registry.select(spec).sampler
    sampler, random = registry.build(name, spec), RandomSampler(spec.search_space, seed=1)
    history = History(spec.search_space)

    def end(params: Any) -> None:
        trial, loss = history.n, _loss(params)
        history.fold([Change(trial, Outcome.PENDING, params), Change(trial, Outcome.COMPLETE, values=(loss,), steps=1)])

    for position in range(case.held):
        end(random.propose(position, 1, history=history)[0])
    ask: Callable[[int], Any] = lambda n: sampler.propose(history.n, n, history=history)  # noqa: E731
    ask(1)  # what is imported and what is cached
    if "memory" in case.what:
        return name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    n = FLEET if "at once" in case.what else 1
    seconds = []
    for _ in range(repeats):
        end(random.propose(history.n, 1, history=history)[0])
        began = time.process_time()
        proposals = ask(n)
        seconds.append(time.process_time() - began)
        if len({json.dumps(each) for each in proposals}) < n:
            raise SystemExit(f"{case.what}: of {n} proposals some are equal")
    return name, statistics.median(seconds)


def _loss(params: dict[str, Any]) -> float:
    """Smooth and with a best place, as losses are in their better half."""
    u = [abs(float(params["dropout"]) - 0.2), abs(float(params["warmup"]) - 0.1), abs(params["depth"] - 4) / 12]
    return float(sum(u) + 0.2 * (params["activation"] != "gelu"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    repeats = arguments.repeats or (3 if arguments.quick else 9)
    if arguments.case is not None:
        print(json.dumps(run(CASES[arguments.case], repeats=repeats)))
        return
    rows = []
    for case in CASES:
        rows.append(row := measured(case, repeats=repeats))
        verdict = "ok" if row.ok else "FALLS SHORT"
        print(
            f"{row.what:46} {row.sampler:6} {row.held:8,} held {row.value:8.3f} {verdict} (bound <= {row.bound:g})",
            flush=True,
        )
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
