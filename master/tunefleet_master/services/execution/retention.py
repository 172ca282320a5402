"""Retention: deletion of checkpoints that no member of a population needs, and thinning of old curves."""

from __future__ import annotations

from datetime import timedelta

from tunefleet.protocol import StudyState, TrialState
from tunefleet_master.search.history import Outcome
from tunefleet_master.search.pbt import PbtSampler
from tunefleet_master.search.population import Population, Record
from tunefleet_master.search.segment import Segment
from tunefleet_master.storage import reports, segments, studies, trials
from tunefleet_master.storage.segments import StoredSegment
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

KEPT_POINTS = 100
"""Points of each thinned curve, with both ends; a chart cannot show more."""

MAX_TRIALS = 100  # in one transaction, so that it never holds the writer for long

_OUTCOMES = {
    TrialState.WAITING: Outcome.PENDING,
    TrialState.RUNNING: Outcome.PENDING,
    TrialState.COMPLETE: Outcome.COMPLETE,
}


def drop_checkpoints(uow: UnitOfWork, study: Study) -> None:
    """Delete the checkpoints of a population that no segment continues from, now or later.

    It keeps the checkpoints of parents with a child that waits, runs or may be retried, and all that a member may copy
    later. A stopped study needs none. The sweeper deletes content that nothing else refers to.

    Args:
        uow: the request's.
        study: as this transaction has locked it.
    """
    if study.state is StudyState.STOPPED:
        kept: set[int] = set()
    else:
        found = segments.of_study(uow.connection, study.id)
        kept = Population(PbtSampler.of(study.spec).plan, map(_record, found)).needed_checkpoints()
    segments.drop_checkpoints(uow.connection, study.id, kept=kept)


def _record(segment: StoredSegment) -> Record:
    place = Segment(segment.member, segment.parent, segment.until)
    return Record(segment.number, place, _OUTCOMES.get(segment.state, Outcome.UNKNOWN))


def thin(uow: UnitOfWork, *, keep_days: float) -> bool:
    """Thin some curves of a study that ended more than `keep_days` ago; return whether there was such a study.

    The values of trials and the point of each best step stay.
    """
    study = studies.next_to_thin(uow.connection, uow.now - timedelta(days=keep_days))
    if study is None:
        return False
    n_thinned = studies.n_thinned(uow.connection, study.id)
    chosen = trials.numbered_from(uow.connection, study.id, n_thinned, limit=MAX_TRIALS)
    for trial in chosen:
        steps = reports.steps(uow.connection, trial.id)
        kept = {*reports.evenly(steps, KEPT_POINTS), trial.best_step}
        reports.remove(uow.connection, trial.id, [step for step in steps if step not in kept])
    studies.note_thinned(uow.connection, study.id, chosen[-1].number + 1 if chosen else study.n_created)
    return True
