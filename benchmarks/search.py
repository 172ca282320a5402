"""The quality of our samplers and pruners, beside the peers' on the same tasks in the same run.

A fleet is simulated: virtual time, real durations, and results that nobody knows before their training has ended.
Tasks are tables of trainings that were really run, and BBOB's functions. `evaluations` counts configurations that are
trained in full; `curves` has learning curves, on which trials are stopped early, and counts the work.

Regret is normalised: 0 is the best known value, 1 the median of a random draw. The geometric mean has a floor of .001.
Samplers are developed on the group `development`; `final` is kept for the table, `anchors` are eight of both on which
many peers have been measured before, and `numbers` are those of both that have no choices.

The whole table takes hours, nearly all of it for Optuna's GPSampler, SMAC and our `gp`; with --cache FILE an
interrupted run goes on where it stopped.

python benchmarks/search.py [--quick] [--json] [--only PART] [--tasks GROUP|TASK ...] [--contestants NAME ...]
    [--workers N ...] [--seeds N] [--jobs N] [--cache FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.search_quality.cache import Cache
    from benchmarks.search_quality.runs import Plan, Run
    from benchmarks.search_quality.summary import Figure, Row

# One thread each: figures of CPU time are then the same on every machine, and --jobs fills the cores.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PARTS = ("evaluations", "curves")
AMOUNTS = {"evaluations": 60, "curves": 40}
AFTER = {"evaluations": (20, 60), "curves": (5, 10, 40)}
COSTLY = ("gp", "forest", "optuna-gp", "smac")
QUICK_SEEDS = 2


def plans(part: str, arguments: argparse.Namespace) -> list[Plan]:
    """The runs of a part: all methods on the first seed, then on the next."""
    from benchmarks.search_quality import baselines
    from benchmarks.search_quality.runs import Plan

    everyone = baselines.EVALUATING if part == "evaluations" else baselines.STOPPING
    for name in arguments.contestants or ():
        baselines.check(name)
    named = arguments.contestants or [name for name in everyone if not (arguments.quick and name in COSTLY)]
    here = [name for name in named if baselines.is_here(name)]
    if missing := [name for name in named if name not in here]:
        note(f"left out, since they are not installed: {', '.join(missing)}")
    named_tasks = dict.fromkeys(task for members in groups(part, arguments).values() for task in members)
    taking = {task: [name for name in here if takes(name, task)] for task in named_tasks}
    return [
        Plan(method, task, n_workers, seed, AMOUNTS[part])
        for seed in range(arguments.seeds)
        for task in named_tasks
        for n_workers in arguments.workers
        for method in taking[task]
    ]


def takes(method: str, task: str) -> bool:
    """Return True if the method can run the task; otherwise print a note."""
    from benchmarks.search_quality import baselines, tasks

    can = baselines.can_run(method, tasks.load(task, seed=0).space)
    if not can:
        note(f"{method} cannot run {task}, and has no row in a group with it")
    return can


def groups(part: str, arguments: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """The groups of tasks of a part that were asked for; tasks that are named one by one are one group."""
    from benchmarks.search_quality import tasks

    if part == "curves":
        return {"curves": tasks.CURVES}
    asked = arguments.tasks or (["anchors"] if arguments.quick else ["development", "final", "anchors", "numbers"])
    found = {name: tasks.members(name) for name in asked if name in tasks.GROUPS}
    if alone := [name for name in asked if name not in found]:
        found["the tasks named"] = tuple(task for name in alone for task in tasks.members(name))
    return found


def finished(wanted: Sequence[Plan], cache: Cache, *, n_jobs: int) -> Iterator[tuple[Plan, Run]]:
    """Every run, as it ends; first those that the cache has."""
    from benchmarks.search_quality import runs

    missing = [plan for plan in wanted if cache.get(plan) is None]
    yield from ((plan, run) for plan in wanted if (run := cache.get(plan)) is not None)
    if n_jobs == 1:
        made = map(runs.run, missing)
        yield from _kept(missing, made, cache)
        return
    with ProcessPoolExecutor(n_jobs) as pool:
        yield from _kept(missing, pool.map(runs.run, missing), cache)


def _kept(missing: Sequence[Plan], made: Iterator[Run], cache: Cache) -> Iterator[tuple[Plan, Run]]:
    began = time.monotonic()
    for n, (plan, run) in enumerate(zip(missing, made, strict=True), start=1):
        cache.put(plan, run)
        left_s = (time.monotonic() - began) / n * (len(missing) - n)
        where = f"{plan.method} on {plan.task}, {plan.n_workers} in flight, seed {plan.seed}"
        note(f"{n}/{len(missing)} {where}; about {left_s / 60:.0f} min left")
        yield plan, run


def measured(part: str, arguments: argparse.Namespace, *, cache: Cache) -> tuple[list[Row], list[Figure]]:
    """The rows of a part and its figures."""
    from benchmarks.search_quality import summary

    found = dict(finished(plans(part, arguments), cache, n_jobs=arguments.jobs))
    rows: list[Row] = []
    figures: list[Figure] = []
    for group, members in groups(part, arguments).items():
        rows += summary.rows(found, group, tasks=members, afters=AFTER[part])
        duels = summary.EVALUATIONS if part == "evaluations" else summary.TRAININGS
        figures += summary.figures(found, group, tasks=members, duels=duels)
    return rows, figures


def show(rows: Sequence[Row], figures: Sequence[Figure]) -> None:
    """Print the rows, the best first in each group, and the figures."""
    last = None
    for row in sorted(rows, key=lambda row: (row.group, row.n_workers, row.after, row.geometric_mean)):
        head = (row.group, row.n_workers, row.after)
        if head != last:
            print(f"\n{row.group}, {len(row.by_task)} tasks, {row.n_workers} in flight, after {row.after}")
            print(f"{'':24}{'mean':>8}{'geo.mean':>10}{'CPU ms per proposal':>22}")
            last = head
        print(f"{row.method:24}{row.mean:8.3f}{row.geometric_mean:10.4f}{row.cpu_ms:22.1f}")
    print()
    for figure in figures:
        verdict = "ok" if figure.ok else "FALLS SHORT"
        interval = f"[{figure.low:.2f}, {figure.high:.2f}]"
        print(f"{figure.name:76} {figure.ratio:6.3f} {interval:14} {verdict} (bound <= {figure.bound:g} x)")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds of the anchors, without the costly methods")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    parser.add_argument(
        "--tasks", nargs="+", help="groups (development, final, anchors, numbers) or tasks of `evaluations`"
    )
    parser.add_argument("--contestants", nargs="+", help="these alone, such as tpe gp random+asha optuna-tpe")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 8], help="how many trials are in flight")
    parser.add_argument("--seeds", type=int, help="how many seeds; 10 unless given")
    parser.add_argument("--jobs", type=int, default=1, help="how many runs at a time")
    parser.add_argument("--cache", type=Path, help="file that keeps finished runs")
    arguments = parser.parse_args()
    arguments.seeds = arguments.seeds or (QUICK_SEEDS if arguments.quick else 10)
    return arguments


def main() -> None:
    """Measure and print."""
    from benchmarks.search_quality import baselines
    from benchmarks.search_quality.cache import Cache

    from tunefleet.errors import TunefleetError

    arguments = parsed()
    cache = Cache(arguments.cache)
    rows: list[Row] = []
    figures: list[Figure] = []
    try:
        for part in PARTS if arguments.only is None else (arguments.only,):
            new_rows, new_figures = measured(part, arguments, cache=cache)
            rows += new_rows
            figures += new_figures
    except TunefleetError as error:
        sys.exit(f"error: {error}")
    show(rows, figures)
    if arguments.json:
        releases = {name: baselines.release(name) for name in {row.method for row in rows}}
        data = {"rows": list(map(asdict, rows)), "figures": list(map(asdict, figures)), "releases": releases}
        print(json.dumps(data))


if __name__ == "__main__":
    main()
