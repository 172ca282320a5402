"""Taking in metrics while a trial runs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tunefleet.errors import TunefleetError
from tunefleet.names import TrialId
from tunefleet.protocol import Directive, Point, Report, ReportBatch, StopReason
from tunefleet.spec import Objective
from tunefleet_master.services.transitions import lease_lost
from tunefleet_master.storage import leases, studies, trials
from tunefleet_master.storage import reports as stored
from tunefleet_master.storage.leases import Fence
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Trial


@dataclass(frozen=True, slots=True)
class Reported:
    """A batch of reports of a trial."""

    trial_id: TrialId
    batch: ReportBatch

    @property
    def fence(self) -> Fence:
        """The trial and the attempt that reports."""
        return self.trial_id, self.batch.attempt


def record(uow: UnitOfWork, reported: Sequence[Reported]) -> list[Directive | TunefleetError]:
    """Store reports and say what each trial does next; reports that are stored already change nothing.

    A metric that is NaN or infinite orders the trial to stop, as diverged. An answer may be NotFound, or LeaseLost when
    the attempt does not hold its trial.
    """
    held = leases.held(uow.connection, {item.fence for item in reported})
    accepted = [item for item in reported if item.fence in held]
    if accepted:
        stored.store(uow.connection, [(*item.fence, item.batch.reports) for item in accepted])
        objectives = studies.by_ids(uow.connection, {trial.study_id for trial in held.values()})
        for item in accepted:
            trial = held[item.fence]
            held[item.fence] = _advance(trial, objectives[trial.study_id].spec.objective, item.batch.reports)
        leases.note_progress(uow.connection, held.values(), deadline=uow.deadline)
    for item in accepted:
        held[item.fence] = _stop_if_diverged(uow, held[item.fence], item.batch.reports)
    refusals = refuse(uow, [item.fence for item in reported if item.fence not in held])
    return [_directive(held[item.fence]) if item.fence in held else refusals[item.fence] for item in reported]


def refuse(uow: UnitOfWork, fences: Collection[Fence]) -> dict[Fence, TunefleetError]:
    """Why these attempts may not write: NotFound or LeaseLost."""
    known = trials.by_ids(uow.connection, {trial_id for trial_id, _ in fences}) if fences else {}
    return {
        (trial_id, attempt): lease_lost(known[trial_id], attempt) if trial_id in known else trials.missing(trial_id)
        for trial_id, attempt in fences
    }


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


def _advance(trial: Trial, objective: Objective, reports: Sequence[Report]) -> Trial:
    """The trial as these reports change it; its value is an interim one until the attempt ends."""
    last_step = max(report.step for report in reports)
    trial = replace(trial, last_step=max(last_step, trial.last_step or 0))
    point = best_point(objective, reports)
    if point is None:
        return trial
    value = point.metrics[objective.metric]
    if objective.value == "best" and not objective.better(value, trial.value):
        return trial
    return replace(trial, value=value, best_step=point.step, metrics=finite(point.metrics))


def _stop_if_diverged(uow: UnitOfWork, trial: Trial, reports: Sequence[Report]) -> Trial:
    divergence = first_divergence(reports)
    if divergence is None or trial.stop is not None:
        return trial
    leases.order_stop(uow.connection, trial.id, StopReason.DIVERGED, message=divergence, now=uow.now)
    return replace(trial, stop=StopReason.DIVERGED, stop_message=divergence)


def _directive(trial: Trial) -> Directive:
    if trial.stop is None:
        return Directive(directive="continue")
    return Directive(directive="stop", reason=trial.stop, message=trial.stop_message)
