"""Results of trials from their reports. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tunefleet.protocol import Point, Report
from tunefleet.study.objective import Objective
from tunefleet.study.spec import StudySpec
from tunefleet_master.storage.values import Trial


def first_divergence(points: Iterable[Report | Point]) -> str | None:
    """Describe the first metric that is NaN or infinite, with its step; None when all are finite."""
    for point in points:
        for name, value in point.metrics.items():
            if not math.isfinite(value):
                return f"{name} was {value} at step {point.step}"
    return None


def result_point(spec: StudySpec, points: Sequence[Report | Point]) -> Report | Point | None:
    """Return the report that is the trial's result; with several objectives, the last one with all result metrics.

    None when there is none.
    """
    if not spec.several_objectives:
        return best_point(spec.objective, points)
    complete = (point for point in reversed(points) if _has_all(spec.result_metrics, point.metrics))
    return next(complete, None)


def _has_all(names: Iterable[str], metrics: Mapping[str, float]) -> bool:
    return all(math.isfinite(metrics.get(name, math.nan)) for name in names)


def values_of(spec: StudySpec, trial: Trial) -> tuple[float, ...] | None:
    """Return the trial's value of each objective; None where there is only one objective, or no result yet."""
    if not spec.several_objectives or not _has_all(spec.result_metrics, trial.metrics):
        return None
    return tuple(trial.metrics[objective.metric] for objective in spec.objectives)


def best_point(objective: Objective, points: Sequence[Report | Point]) -> Report | Point | None:
    """Return the report that the objective counts: the best one (the earliest among equals), or the last.

    None when the metric was never reported as a finite number.
    """
    measured = [p for p in points if math.isfinite(p.metrics.get(objective.metric, math.nan))]
    if not measured or objective.value == "last":
        return measured[-1] if measured else None
    best = measured[0]
    for point in measured[1:]:
        if objective.better(point.metrics[objective.metric], best.metrics[objective.metric]):
            best = point
    return best


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the finite metrics."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def advance(trial: Trial, spec: StudySpec, *, reports: Sequence[Report]) -> Trial:
    """Return the trial after these reports; its value is provisional until the attempt ends."""
    last_step = max(report.step for report in reports)
    trial = replace(trial, last_step=max(last_step, trial.last_step or 0))
    point, objective = result_point(spec, reports), spec.objective
    if point is None:
        return trial
    value = point.metrics[objective.metric]
    if objective.value == "best" and not objective.better(value, trial.value):
        return trial
    return replace(trial, value=value, best_step=point.step, metrics=finite(point.metrics))
