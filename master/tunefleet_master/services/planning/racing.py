"""Giving no further folds to configurations that are worse than the best one by those that they had."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from tunefleet.protocol import Event, TrialState
from tunefleet.study.states import FINISHED, LIVE
from tunefleet_master.pruning.racing import Loser, Race
from tunefleet_master.services.execution.transitions import announce, complete_if_done
from tunefleet_master.services.planning import histories
from tunefleet_master.storage import events, folds, studies
from tunefleet_master.storage.subscriptions import events_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

MAX_RACES = 200
_AT_ONCE = 5_000  # events that are read at a time


@dataclass(slots=True)
class _Entry:
    race: Race
    seen: int = 0
    """The last event in it."""


def is_raced(study: Study) -> bool:
    """Whether configurations of the study may lose."""
    return study.folds > 1 and study.spec.data.race


class Races:
    """The races of studies with folds, each made from its events when it is first looked at. One thread at a time."""

    def __init__(self) -> None:
        self._entries: OrderedDict[int, _Entry] = OrderedDict()

    def losers(self, uow: UnitOfWork, study: Study) -> list[Loser]:
        """The configurations that get no further folds, on all that is committed.

        One whose last folds are told to stop is among them until they have.
        """
        entry = self._entry(study)
        while found := events.after(uow.connection, study.id, entry.seen, limit=_AT_ONCE):
            for event in found:
                _fold(event, entry.race)
            entry.seen = found[-1].id
        return list(entry.race.losers())

    def _entry(self, study: Study) -> _Entry:
        if study.id not in self._entries:
            while len(self._entries) >= MAX_RACES:
                self._entries.popitem(last=False)
            [sign] = histories.signs(study.spec.objective)
            self._entries[study.id] = _Entry(Race(study.folds, sign=sign))
        self._entries.move_to_end(study.id)
        return self._entries[study.id]


def retire(uow: UnitOfWork, study: Study, loser: Loser) -> bool:
    """End what is left of a configuration; False when nothing was left, or all of it has been told."""
    waited, n_told = folds.drop(uow.connection, study, loser.configuration, message=loser.why, now=uow.now)
    for trial in waited:
        announce(uow, study, trial, state=TrialState.PRUNED, message=loser.why)
    if n_told:
        uow.notify_after_commit(events_of(study.name))
    if waited:
        complete_if_done(uow, studies.by_id(uow.connection, study.id))
    return bool(waited or n_told)


def _fold(event: Event, race: Race) -> None:
    if event.trial is None:
        return
    state = event.kind.removeprefix("trial.")
    if state in LIVE:
        race.begin(event.trial)
    elif state == TrialState.COMPLETE:
        race.complete(event.trial, float(str(event.data["value"])))
    elif state in FINISHED:
        race.end(event.trial, is_pruned=state == TrialState.PRUNED)
