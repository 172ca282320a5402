"""Keeping the database small: the curves of studies that ended long ago are thinned, a few trials at a time."""

from __future__ import annotations

from datetime import timedelta

from tunefleet_master.storage import reports, studies, trials
from tunefleet_master.storage.unit_of_work import UnitOfWork

KEPT_POINTS = 100
"""Of each trial's curve, both ends among them; a chart shows no more."""

TRIALS_AT_ONCE = 100  # so that a transaction never holds the writer for long


def thin(uow: UnitOfWork, *, keep_days: float) -> bool:
    """Thin some curves of a study that ended more than `keep_days` ago; whether there was one.

    The values of trials stay as they are, and so does the best step of each trial.
    """
    study = studies.next_to_thin(uow.connection, uow.now - timedelta(days=keep_days))
    if study is None:
        return False
    n_thinned = studies.n_thinned(uow.connection, study.id)
    chosen = trials.numbered_from(uow.connection, study.id, n_thinned, limit=TRIALS_AT_ONCE)
    for trial in chosen:
        steps = reports.steps(uow.connection, trial.id)
        kept = {*reports.evenly(steps, KEPT_POINTS), trial.best_step}
        reports.remove(uow.connection, trial.id, [step for step in steps if step not in kept])
    studies.note_thinned(uow.connection, study.id, chosen[-1].number + 1 if chosen else study.n_created)
    return True
