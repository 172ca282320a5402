"""Taking in metrics while a trial runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunefleet.names import TrialId
from tunefleet.protocol import Directive, Point, Report, ReportBatch, StopReason
from tunefleet.spec import Objective
from tunefleet_master.services.transitions import lease_lost
from tunefleet_master.storage import leases, studies, trials
from tunefleet_master.storage import reports as stored
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Trial


def record(uow: UnitOfWork, trial_id: TrialId, batch: ReportBatch) -> Directive:
    """Store reports and say what the trial does next; reports that are stored already change nothing.

    A metric that is NaN or infinite orders the trial to stop, as diverged.

    Raises:
        NotFound: there is no such trial. LeaseLost: the attempt does not hold it.
    """
    trial = hold(uow, trial_id, batch.attempt)
    stored.store(uow.connection, trial.id, trial.attempt, reports=batch.reports)
    divergence = first_divergence(batch.reports)
    if divergence is not None:
        leases.order_stop(
            uow.connection,
            trial.id,
            StopReason.DIVERGED,
            message=divergence,
            now=uow.now,
        )
    objective = studies.by_id(uow.connection, trial.study_id).spec.objective
    trials.note_progress(
        uow.connection,
        trial,
        values=_progress(trial, objective, batch.reports),
        now=uow.now,
    )
    if trial.stop is not None:
        return Directive(directive="stop", reason=trial.stop, message=trial.stop_message)
    if divergence is not None:
        return Directive(directive="stop", reason=StopReason.DIVERGED, message=divergence)
    return Directive(directive="continue")


def hold(uow: UnitOfWork, trial_id: TrialId, attempt: int) -> Trial:
    """The trial, with the attempt's lease extended; raises NotFound, or LeaseLost when the attempt does not hold it."""
    trial = leases.touch(uow.connection, trial_id, attempt, deadline=uow.deadline)
    if trial is None:
        raise lease_lost(trials.get(uow.connection, trial_id), attempt)
    return trial


def first_divergence(points: Iterable[Report | Point]) -> str | None:
    """Which metric was the first to be NaN or infinite, and at which step; None when all are finite."""
    for point in points:
        for name, value in point.metrics.items():
            if not math.isfinite(value):
                return f"{name} was {value} at step {point.step}"
    return None


def best_point(objective: Objective, points: Sequence[Report | Point]) -> Report | Point | None:
    """The report that the objective counts: the best one, the earlier among equal ones, or the last.

    None when it was not reported.
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
    """The metrics that are numbers."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _progress(trial: Trial, objective: Objective, reports: Sequence[Report]) -> dict[str, Any]:
    """The trial's columns that these reports change; the value is an interim one until the attempt ends."""
    last_step = max(report.step for report in reports)
    values: dict[str, Any] = {"last_step": max(last_step, trial.last_step or 0)}
    point = best_point(objective, reports)
    if point is not None:
        value = point.metrics[objective.metric]
        if objective.value == "last" or objective.better(value, trial.value):
            values |= {
                "value": value,
                "best_step": point.step,
                "metrics": finite(point.metrics),
            }
    return values
