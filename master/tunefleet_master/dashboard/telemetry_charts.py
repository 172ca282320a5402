"""Charts of a trial's telemetry over the watched updates. Pure; the template draws them."""

from __future__ import annotations

import math

from tunefleet.protocol import Point
from tunefleet.protocol.telemetry import Telemetry
from tunefleet_master.dashboard.charts import Chart, charts_of


def telemetry_charts(telemetry: Telemetry) -> list[Chart]:
    """Up to three charts: update ratios, gradient norm, idle units; one without data is left out."""
    points = [Point(step=step, metrics=_metrics(telemetry, at)) for at, step in enumerate(telemetry.step)]
    return charts_of(points)


def _metrics(telemetry: Telemetry, at: int) -> dict[str, float]:
    """The plotted values of one update, one per chart."""
    ratios = sorted(
        ratio for tensor in telemetry.weights if (ratio := tensor.update_ratio[at]) is not None and math.isfinite(ratio)
    )
    idle = [share for layer in telemetry.layers if (share := layer.idle[at]) is not None]
    norm = telemetry.grad_norm[at]
    found: dict[str, float] = {}
    if ratios:
        found["update to weight, median tensor"] = ratios[len(ratios) // 2]
    if norm is not None:
        found["gradient norm before clipping"] = norm
    if idle:
        found["idle units, worst layer"] = max(idle)
    return found
