"""The throughput of the master, beside Optuna 5 on the same databases in the same run.

One trial is five parameters chosen at random, ten reports of one metric, and its end; the training costs nothing. On
both sides 32 workers run trials as fast as they can. Contestants take turns in rounds, and the figures are medians over
the rounds.

Optuna's worker does its work itself: it draws the parameters, and 32 processes of Python talk to the gRPC proxy or to
the database. Tunefleet's master does it for its workers, who only send HTTP requests, which one lean process does here
for all 32. So the CPU time of both sides is counted whole, servers, database and clients, and printed apart.

The ratio of the rates is what a user sees on this machine; the ratio of the CPU times does not depend on what else ran.

python benchmarks/serving.py [--quick] [--json] [--only ROW]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.load.figures import Plan, Row
    from tests.postgres import PostgresServer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ROWS = ("postgres", "sqlite", "history", "masters", "idle")


def measured(postgres: PostgresServer, plan: Plan, *, only: str | None) -> Iterator[Row]:
    """The rows, one after another as they are measured."""
    from benchmarks.load import figures

    with tempfile.TemporaryDirectory() as folder:
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            "postgres": lambda: figures.postgres_rows(postgres, plan),
            "sqlite": lambda: iter([figures.sqlite_row(plan)]),
            "history": lambda: figures.all_history_rows(postgres, Path(folder), plan=plan),
            "masters": lambda: iter([figures.masters_row(postgres, plan)]),
            "idle": lambda: iter([figures.idle_row(postgres, plan)]),
        }
        for name, rows in parts.items():
            if only in (None, name):
                yield from rows()


def show(row: Row) -> None:
    """Print a row with its notes."""
    verdict = {True: "ok", False: "FALLS SHORT", None: "not shown by this machine"}[row.ok]
    figures = f"{row.ours:9.2f}  beside {row.peer:9.2f}  ratio {row.ratio:7.3f}"
    print(f"{row.name:76} {figures}  {verdict} (bound {row.bound})")
    for note in row.notes:
        print(f"    {note}")
    sys.stdout.flush()


def main() -> None:
    """Measure all rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, about two minutes")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--only", choices=ROWS, help="measure these rows alone")
    arguments = parser.parse_args()

    from benchmarks.load.figures import Plan
    from tests.postgres import running_postgres

    plan = Plan(rounds=2, seconds=4, idle_s=25) if arguments.quick else Plan(rounds=5, seconds=6, idle_s=50)
    began = time.monotonic()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start")
    rows = []
    with running_postgres() as postgres:
        for row in measured(postgres, plan, only=arguments.only):
            show(row)
            rows.append(row)
    print(f"took {time.monotonic() - began:.0f} s; load average {os.getloadavg()[0]:.1f} at the end")
    if arguments.json:
        print(json.dumps({"rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
