"""Synthetic curves as the input of rules over one trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tunefleet_master.diagnosis.finding import Finding
from tunefleet_master.diagnosis.training.curve import TrialCurve
from tunefleet_master.diagnosis.training.findings import trial_findings

HEALTHY = {
    "train_loss": (2.2, 0.2),
    "val_loss": (2.0, 0.25),
    "train_accuracy": (0.2, 0.95),
    "val_accuracy": (0.3, 0.92),
}
N = 20


def falling(first: float, last: float, *, n: int = N, rate: float = 0.3) -> list[float]:
    """Return values that fall from the first to the last one, fast and then slowly."""
    shape = np.exp(-rate * np.arange(n))
    shape = (shape - shape[-1]) / (shape[0] - shape[-1])
    return [float(value) for value in last + (first - last) * shape]


def curve(
    *, metric: str = "val_accuracy", params: dict[str, Any] | None = None, **series: Sequence[float]
) -> TrialCurve:
    """Return a healthy training with some series replaced; an empty one is not reported.

    `watch_dead_units` is `watch.dead_units`. A series that is shorter ends the training earlier.
    """
    found = {name: falling(first, last) for name, (first, last) in HEALTHY.items()}
    found |= {name.replace("watch_", "watch."): list(values) for name, values in series.items()}
    found = {name: values for name, values in found.items() if values}
    n = min(len(values) for values in found.values())
    points = [(step, {name: float(values[step]) for name, values in found.items()}) for step in range(n)]
    return TrialCurve(points, metric=metric, maximised="accuracy" in metric, params=params or {})


def findings_by_code(of: TrialCurve) -> dict[str, Finding]:
    """Return the findings by code."""
    return {finding.code: finding for finding in trial_findings(of)}
