"""A preflight in this process, of a function or of a built-in task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from tunefleet.protocol import Lease
from tunefleet.protocol.preflight import PREFLIGHT_NUMBER, PreflightOrder, PreflightReport
from tunefleet.study.preflight_configurations import preflight_configurations
from tunefleet.study.spec import StudySpec
from tunefleet_worker.preflight.inspection import Inspection
from tunefleet_worker.tasks.registry import load_task


def lease_of(run: dict[str, Any], order: PreflightOrder, **changes: Any) -> Lease:
    """Return a lease on a preflight."""
    return Lease.parse(
        {
            "trial_id": 1,
            "attempt": 1,
            "study": "study",
            "number": PREFLIGHT_NUMBER,
            "params": {},
            "seed": 0,
            "steps": 20,
            "run": run,
            "data": {},
            "objective": {"metric": "val_accuracy", "goal": "maximize"},
            "trial_timeout_s": None,
            "resume": None,
            "preflight": order,
            **changes,
        }
    )


def inspect(
    function: Callable[..., object],
    folder: Path,
    *tries: dict[str, JsonValue],
    updates: int = 300,
    check: Callable[[], None] = lambda: None,
    **changes: Any,
) -> PreflightReport:
    """Return the report on a function, for one branch with these configurations."""
    order = PreflightOrder(samples=64, updates=updates, branches=[list(tries) or [{}]])
    lease = lease_of(changes.pop("run", {"function": "train:train"}), order, **changes)
    return Inspection(function, lease, order, folder=folder, device="cpu", check=check).report()


def inspect_task(spec: StudySpec, folder: Path) -> PreflightReport:
    """Return the report on a study of a built-in task."""
    asked = spec.preflight
    assert asked is not None
    order = PreflightOrder(samples=asked.samples, updates=asked.updates, branches=preflight_configurations(spec))
    run = spec.run.model_dump()
    lease = lease_of(run, order, objective=spec.objective, data=spec.data)
    function = load_task(run["task"])
    return Inspection(function, lease, order, folder=folder, device="cpu", check=lambda: None).report()
