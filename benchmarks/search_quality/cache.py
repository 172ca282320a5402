"""A file of finished runs, so that an interrupted benchmark resumes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.search_quality.runs import Plan, Run


class Cache:
    """Finished runs, one line of JSON each.

    A run is found again while the method's release is the same: a peer's version, or for ours the code that
    chooses. Whoever changes a task, or how a peer is driven, begins another file.
    """

    def __init__(self, file: Path | None) -> None:
        """Read the runs of the file, if it exists; None: keep runs in memory only."""
        self._file = file
        self._runs: dict[str, Run] = {}
        if file is not None and file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                found = json.loads(line)
                self._runs[found["key"]] = Run(**found["run"])

    def get(self, plan: Plan) -> Run | None:
        """Return the stored run, or None."""
        return self._runs.get(plan.key)

    def put(self, plan: Plan, run: Run) -> None:
        """Store a run."""
        self._runs[plan.key] = run
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": plan.key, "run": asdict(run)}) + "\n")
