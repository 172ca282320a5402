"""Early stopping, in the transaction of the report that brings a trial to a rung.

Each rung that a trial reaches is an event, and a rung table is folded from the events of a study, so every master
compares a trial with the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

from tunefleet.protocol import Event, Report, TrialState
from tunefleet.study.spec import StudySpec
from tunefleet.study.stages import stage_of, steps_of
from tunefleet.study.states import FINISHED, LIVE
from tunefleet_master.pruning import registry
from tunefleet_master.pruning.pruner import Action, Decision, Pruner, RungArrival
from tunefleet_master.pruning.rungs import RungTable
from tunefleet_master.services.execution.curves import advance
from tunefleet_master.services.execution.event_folds import EventFolds
from tunefleet_master.storage import reports
from tunefleet_master.storage.subscriptions import PLANNER, events_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial

RUNG = "trial.rung"
"""The kind of event that records that a trial reached a rung, with its value there."""


@dataclass(slots=True)
class _StageRungs:
    """The rung table of one stage of a study.

    Attributes:
        spec: the study's.
        stage: the stage; its trials run for the same number of steps, and are compared with each other only.
        table: the rungs that its trials reached.
        unconfirmed: the transactions of rungs that this master has recorded and not yet read back, by trial and rung.
    """

    spec: StudySpec
    stage: int
    table: RungTable
    unconfirmed: dict[tuple[int, int], UnitOfWork] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Apply an event; only events on trials of the stage change the table."""
        trial = event.trial
        if trial is None or stage_of(self.spec, trial) != self.stage:
            return
        if event.kind == RUNG:
            rung, value = int(str(event.data["rung"])), self.spec.objective.sign * float(str(event.data["value"]))
            self.table.record(trial, rung=rung, value=value)
            self.unconfirmed.pop((trial, rung), None)
            return
        state = event.kind.removeprefix("trial.")
        if state in FINISHED:
            self.table.end(trial, is_complete=state == TrialState.COMPLETE)
        elif state == TrialState.PAUSED:
            self.table.pause(trial)
        elif state in LIVE:
            self.table.resume(trial)


class RungTables:
    """The rung tables of the studies that stop trials early. Thread-safe."""

    def __init__(self) -> None:
        self._folds: EventFolds[_StageRungs] = EventFolds()
        self._lock = Lock()

    def reached(self, study: Study, pruner: Pruner, *, trial: int) -> int:
        """Return the last rung that a trial is known to have reached; another master may have recorded a later one."""
        stage = stage_of(study.spec, trial)
        with self._lock:
            rungs = self._folds.cached((study.id, stage), lambda: _new(study, stage, pruner))
            return rungs.table.reached(trial)

    def up_to_date(self, uow: UnitOfWork, study: Study, *, pruner: Pruner, trial: int) -> RungTable:
        """Return the table of a trial's stage, with all committed events and the rungs of this transaction."""
        stage = stage_of(study.spec, trial)
        with self._lock:
            rungs = self._catch_up(uow, study, stage, pruner)
            if any(writer is not uow for writer in rungs.unconfirmed.values()):  # its transaction was rolled back
                self._folds.drop((study.id, stage))
                rungs = self._catch_up(uow, study, stage, pruner)
            return rungs.table

    def record(self, uow: UnitOfWork, study: Study, *, pruner: Pruner, arrival: RungArrival) -> None:
        """Record in the table and as an event that a trial reached a rung."""
        stage = stage_of(study.spec, arrival.trial)
        with self._lock:
            rungs = self._folds.cached((study.id, stage), lambda: _new(study, stage, pruner))
            rungs.table.record(arrival.trial, rung=arrival.rung, value=arrival.value)
            rungs.unconfirmed[arrival.trial, arrival.rung] = uow
        data = {"rung": arrival.rung, "value": study.spec.objective.sign * arrival.value}
        uow.record(study.id, RUNG, trial=arrival.trial, data=data)
        uow.notify_after_commit(events_of(study.name))
        uow.notify_after_commit(PLANNER)  # a larger rung may promote one more paused trial

    def _catch_up(self, uow: UnitOfWork, study: Study, stage: int, pruner: Pruner) -> _StageRungs:
        return self._folds.catch_up(uow, (study.id, stage), study_id=study.id, new=lambda: _new(study, stage, pruner))


def _new(study: Study, stage: int, pruner: Pruner) -> _StageRungs:
    return _StageRungs(study.spec, stage, pruner.new_table())


def pruner_of(spec: StudySpec, *, trial: int) -> Pruner | None:
    """Return the pruner of a trial; None where the study stops no trial early."""
    return registry.build(spec, steps=steps_of(spec, trial))


def judge(
    uow: UnitOfWork, study: Study, *, before: Trial, batch: Sequence[Report], tables: RungTables
) -> Decision | None:
    """Return the first decision to pause or stop the trial at a rung that these reports reach; None: it continues.

    Args:
        uow: the request's.
        study: the trial's.
        before: the trial before these reports.
        batch: the reports; they are stored.
        tables: this master's.
    """
    pruner = pruner_of(study.spec, trial=before.number)
    if pruner is None or before.stop is not None:
        return None
    trial = before
    for report in sorted(batch, key=lambda report: report.step):
        trial = advance(trial, study.spec, reports=[report])
        decision = _decision(uow, trial, study, report=report, pruner=pruner, tables=tables)
        if decision is not None and decision.action is not Action.CONTINUE:
            return decision
    return None


def _decision(
    uow: UnitOfWork, trial: Trial, study: Study, *, report: Report, pruner: Pruner, tables: RungTables
) -> Decision | None:
    """Return the pruner's decision on a trial at a rung that this report reaches; None where it reaches none."""
    latest = report.metrics.get(study.spec.objective.metric)
    if latest is None or trial.value is None:
        return None
    if pruner.rung(report.step, reached=tables.reached(study, pruner, trial=trial.number)) is None:
        return None
    table = tables.up_to_date(uow, study, pruner=pruner, trial=trial.number)
    rung = pruner.rung(report.step, reached=table.reached(trial.number))
    if rung is None:
        return None
    sign = study.spec.objective.sign
    curve = _curve(uow, trial, study, up_to=report.step) if pruner.needs_curve else ()
    arrival = RungArrival(trial=trial.number, rung=rung, value=sign * trial.value, latest=sign * latest, curve=curve)
    if pruner.compares:
        tables.record(uow, study, pruner=pruner, arrival=arrival)
    return pruner.decide(table, arrival)


def _curve(uow: UnitOfWork, trial: Trial, study: Study, *, up_to: int) -> list[tuple[int, float]]:
    """Return the step and the minimised value of each report up to a step; the batch may contain later ones."""
    metric, sign = study.spec.objective.metric, study.spec.objective.sign
    points = reports.curves(uow.connection, {trial.id})[trial.id]
    return [(it.step, sign * it.metrics[metric]) for it in points if it.step <= up_to and metric in it.metrics]
