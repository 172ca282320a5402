"""Stopping trials early, in the transaction of the report that shows that they are behind.

What a trial is compared with is a fold of its study's events, kept in memory and brought up to date when a trial
reaches a rung. Each rung that is reached is an event of its own, so that every master folds the same table.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

from tunefleet.protocol import Event, Report, TrialState
from tunefleet.study.spec import StudySpec
from tunefleet.study.stages import stage_of, steps_of
from tunefleet.study.states import FINISHED, LIVE
from tunefleet_master.pruning import registry
from tunefleet_master.pruning.pruner import Action, Decision, Pruner, Standing
from tunefleet_master.pruning.rungs import RungTable
from tunefleet_master.services.execution.curves import advance
from tunefleet_master.services.planning import histories
from tunefleet_master.storage import events, reports
from tunefleet_master.storage.subscriptions import PLANNER, events_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study, Trial

MAX_BOOKS = 200
_AT_ONCE = 5_000  # events that are read at a time


@dataclass(slots=True)
class _Entry:
    """The table of a study, and how far it has come.

    Attributes:
        table: all rungs that were reached.
        seen: the last event in it.
        unconfirmed: trial and rung that this master has recorded and not seen among the events, by their transaction.
    """

    table: RungTable
    seen: int = 0
    unconfirmed: dict[tuple[int, int], UnitOfWork] = field(default_factory=dict)


_Key = tuple[int, int]
"""A study and its stage: trials of different stages run for different lengths, and are never compared."""


class RungTables:
    """The tables of the studies that stop trials early, each made from its events when it is first needed."""

    def __init__(self) -> None:
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._turn = Lock()

    def reached(self, study: Study, pruner: Pruner, *, trial: int) -> int:
        """The last rung that a trial is known to have reached; another master may have seen a later one."""
        with self._turn:
            return self._entry(_key(study, trial), pruner).table.reached(trial)

    def up_to_date(self, uow: UnitOfWork, study: Study, *, pruner: Pruner, trial: int) -> RungTable:
        """The table of a trial's stage, with all that is committed, and what this transaction has recorded."""
        with self._turn:
            key = _key(study, trial)
            entry = self._entry(key, pruner)
            self._catch_up(uow, study, entry, stage=key[1])
            if any(of is not uow for of in entry.unconfirmed.values()):  # a transaction was undone
                del self._entries[key]
                entry = self._entry(key, pruner)
                self._catch_up(uow, study, entry, stage=key[1])
            return entry.table

    def record(self, uow: UnitOfWork, study: Study, *, standing: Standing) -> None:
        """A trial reached a rung: note it in the table, and among the study's events."""
        with self._turn:
            entry = self._entries[_key(study, standing.trial)]
            entry.table.record(standing.trial, rung=standing.rung, value=standing.value)
            entry.unconfirmed[standing.trial, standing.rung] = uow
        [sign] = histories.signs(study.spec.objective)
        data = {"rung": standing.rung, "value": sign * standing.value}
        uow.record(study.id, histories.RUNG, trial=standing.trial, data=data)
        uow.notify_after_commit(events_of(study.name))
        uow.notify_after_commit(PLANNER)  # among more trials one that is paused may be one of the best

    def _entry(self, key: _Key, pruner: Pruner) -> _Entry:
        if key not in self._entries:
            while len(self._entries) >= MAX_BOOKS:
                self._entries.popitem(last=False)
            self._entries[key] = _Entry(pruner.new_table())
        self._entries.move_to_end(key)
        return self._entries[key]

    @staticmethod
    def _catch_up(uow: UnitOfWork, study: Study, entry: _Entry, *, stage: int) -> None:
        [sign] = histories.signs(study.spec.objective)
        while found := events.after(uow.connection, study.id, entry.seen, limit=_AT_ONCE):
            for event in found:
                if event.trial is not None and stage_of(study.spec, event.trial) == stage:
                    _fold(event, event.trial, entry, sign=sign)
            entry.seen = found[-1].id


def pruner_of(spec: StudySpec, *, trial: int) -> Pruner | None:
    """The pruner of a trial, None where the study stops nothing early."""
    return registry.build(spec, steps=steps_of(spec, trial))


def judge(
    uow: UnitOfWork, study: Study, *, before: Trial, batch: Sequence[Report], tables: RungTables
) -> Decision | None:
    """What the trial does next, if these reports bring it to a rung; the first decision that is not to go on stands.

    Args:
        uow: the request's.
        study: the trial's.
        before: the trial as it was before these reports.
        batch: the reports, oldest first; they are stored.
        tables: of this master.
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
    """What the pruner says of a trial that this report brings to a rung; None where it brings it to none."""
    latest = report.metrics.get(study.spec.objective.metric)
    if latest is None or trial.value is None:
        return None
    if pruner.rung(report.step, reached=tables.reached(study, pruner, trial=trial.number)) is None:
        return None
    table = tables.up_to_date(uow, study, pruner=pruner, trial=trial.number)
    rung = pruner.rung(report.step, reached=table.reached(trial.number))
    if rung is None:
        return None
    [sign] = histories.signs(study.spec.objective)
    curve = _curve(uow, trial, study, up_to=report.step) if pruner.needs_curve else ()
    standing = Standing(trial=trial.number, rung=rung, value=sign * trial.value, latest=sign * latest, curve=curve)
    if pruner.compares:
        tables.record(uow, study, standing=standing)
    return pruner.decide(table, standing)


def _curve(uow: UnitOfWork, trial: Trial, study: Study, *, up_to: int) -> list[tuple[int, float]]:
    """Step and minimised value of the trial's reports up to a step; a batch may have brought later ones."""
    [sign] = histories.signs(study.spec.objective)
    metric, points = study.spec.objective.metric, reports.curves(uow.connection, {trial.id})[trial.id]
    return [(it.step, sign * it.metrics[metric]) for it in points if it.step <= up_to and metric in it.metrics]


def _key(study: Study, trial: int) -> _Key:
    return study.id, stage_of(study.spec, trial)


def _fold(event: Event, trial: int, entry: _Entry, *, sign: float) -> None:
    """Take an event of a trial into the table of its stage."""
    if event.kind == histories.RUNG:
        rung, value = int(str(event.data["rung"])), sign * float(str(event.data["value"]))
        entry.table.record(trial, rung=rung, value=value)
        entry.unconfirmed.pop((trial, rung), None)
        return
    state = event.kind.removeprefix("trial.")
    if state in FINISHED:
        entry.table.end(trial, is_complete=state == TrialState.COMPLETE)
    elif state == TrialState.PAUSED:
        entry.table.pause(trial)
    elif state in LIVE:
        entry.table.resume(trial)
