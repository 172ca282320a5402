"""Reports of metrics from running trials."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from tunefleet.errors import TunefleetError
from tunefleet.names import TrialId
from tunefleet.protocol import Directive, Report, ReportBatch, StopReason
from tunefleet_master.pruning.pruner import Action, Decision
from tunefleet_master.services.execution.curves import advance, first_divergence
from tunefleet_master.services.execution.early_stopping import RungTables, judge
from tunefleet_master.services.execution.transitions import lease_lost
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


def record(
    uow: UnitOfWork, reported: Sequence[Reported], *, tables: RungTables | None = None
) -> list[Directive | TunefleetError]:
    """Store reports, and answer each with a directive; a report that is stored already changes nothing.

    A metric that is NaN or infinite stops the trial as diverged; the study's pruner may stop or pause it. An answer may
    be NotFound, or LeaseLost when the attempt does not hold its trial.

    Args:
        uow: the transaction's.
        reported: batches of reports.
        tables: the rung tables, cached between calls; None: they are built from the events.
    """
    held = leases.held(uow.connection, {item.fence for item in reported})
    accepted = [item for item in reported if item.fence in held]
    if accepted:
        stored.store(uow.connection, [(*item.fence, item.batch.reports) for item in accepted])
        _advance(uow, accepted, held, tables=tables or RungTables())
    refusals = refuse(uow, [item.fence for item in reported if item.fence not in held])
    return [_directive(held[item.fence]) if item.fence in held else refusals[item.fence] for item in reported]


def _advance(uow: UnitOfWork, accepted: Sequence[Reported], held: dict[Fence, Trial], *, tables: RungTables) -> None:
    """Update the held trials by their reports, and order those to stop that diverged or lag."""
    of_trials = studies.by_ids(uow.connection, {trial.study_id for trial in held.values()})
    before = []
    for item in accepted:
        trial = held[item.fence]
        before.append(trial)
        held[item.fence] = advance(trial, of_trials[trial.study_id].spec, reports=item.batch.reports)
    leases.note_progress(uow.connection, held.values(), deadline=uow.deadline)
    for item, trial in zip(accepted, before, strict=True):
        held[item.fence] = _stop_if_diverged(uow, held[item.fence], item.batch.reports)
        if held[item.fence].stop is None:
            decision = judge(uow, of_trials[trial.study_id], before=trial, batch=item.batch.reports, tables=tables)
            held[item.fence] = _stop_as_decided(uow, held[item.fence], decision)


def refuse(uow: UnitOfWork, fences: Collection[Fence]) -> dict[Fence, TunefleetError]:
    """Return why these attempts may not write: NotFound or LeaseLost."""
    known = trials.by_ids(uow.connection, {trial_id for trial_id, _ in fences}) if fences else {}
    return {
        (trial_id, attempt): lease_lost(known[trial_id], attempt) if trial_id in known else trials.missing(trial_id)
        for trial_id, attempt in fences
    }


def _stop_if_diverged(uow: UnitOfWork, trial: Trial, reports: Sequence[Report]) -> Trial:
    divergence = first_divergence(reports)
    if divergence is None or trial.stop is not None:
        return trial
    leases.order_stop(uow.connection, trial.id, StopReason.DIVERGED, message=divergence, now=uow.now)
    return replace(trial, stop=StopReason.DIVERGED, stop_message=divergence)


def _stop_as_decided(uow: UnitOfWork, trial: Trial, decision: Decision | None) -> Trial:
    if decision is None or decision.action is Action.CONTINUE:
        return trial
    reason = StopReason.PAUSED if decision.action is Action.PAUSE else StopReason.PRUNED
    leases.order_stop(uow.connection, trial.id, reason, message=decision.message, now=uow.now)
    return replace(trial, stop=reason, stop_message=decision.message)


def _directive(trial: Trial) -> Directive:
    if trial.stop is None:
        return Directive(directive="continue")
    if trial.stop is StopReason.PAUSED:
        return Directive(directive="pause", reason=trial.stop, message=trial.stop_message)
    return Directive(directive="stop", reason=trial.stop, message=trial.stop_message)
