"""Racing: no further folds for configurations that are worse than the best one by their folds so far."""

from __future__ import annotations

from dataclasses import dataclass

from tunefleet.protocol import Event, TrialState
from tunefleet.study.states import FINISHED, LIVE
from tunefleet_master.pruning.racing import Elimination, Race
from tunefleet_master.services.execution.event_folds import EventFolds
from tunefleet_master.services.execution.transitions import announce, complete_if_done
from tunefleet_master.storage import folds, studies
from tunefleet_master.storage.subscriptions import events_of
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study


@dataclass(slots=True)
class _StudyRace:
    """The race of a study."""

    race: Race

    def apply(self, event: Event) -> None:
        """Apply an event; only events on trials change the race."""
        if event.trial is None:
            return
        state = event.kind.removeprefix("trial.")
        if state in LIVE:
            self.race.begin(event.trial)
        elif state == TrialState.COMPLETE:
            self.race.complete(event.trial, float(str(event.data["value"])))
        elif state in FINISHED:
            self.race.end(event.trial, is_pruned=state == TrialState.PRUNED)


def is_raced(study: Study) -> bool:
    """Return whether the study races its configurations."""
    return study.folds > 1 and study.spec.data.race


class Races:
    """The races of studies with folds. Not thread-safe."""

    def __init__(self) -> None:
        self._folds: EventFolds[_StudyRace] = EventFolds()

    def eliminations(self, uow: UnitOfWork, study: Study) -> list[Elimination]:
        """Return the configurations that get no further folds, by all committed events.

        A configuration remains among them until the folds that were ordered to stop have ended.
        """
        sign = study.spec.objective.sign
        found = self._folds.catch_up(
            uow, study.id, study_id=study.id, new=lambda: _StudyRace(Race(study.folds, sign=sign))
        )
        return list(found.race.eliminations())


def eliminate(uow: UnitOfWork, study: Study, elimination: Elimination) -> bool:
    """End the waiting and running folds of a configuration; False when none is left to end or to stop."""
    number, reason = elimination.configuration, elimination.reason
    pruned, n_ordered = folds.drop(uow.connection, study, number, message=reason, now=uow.now)
    for trial in pruned:
        announce(uow, study, trial, state=TrialState.PRUNED, message=reason)
    if n_ordered:
        uow.notify_after_commit(events_of(study.name))
    if pruned:
        complete_if_done(uow, studies.by_id(uow.connection, study.id))
    return bool(pruned or n_ordered)
