"""Keeping a process informed of what has happened in a study."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from tunefleet_master.search.history import Change, Edit, Prior
from tunefleet_master.services.planning import histories
from tunefleet_master.services.planning.history_process import Begin, HistoryProcess, Tell
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

AT_ONCE = 5_000  # changes in one message


def catch_up(process: HistoryProcess, study: Study, *, database: Database) -> int:
    """Tell the process all that has happened in the study; the last event that says something, 0: none does.

    No transaction is open while the process listens. Raises the error of the process.
    """
    seen = process.seen(study.id)
    if seen == 0:
        first = database.read(lambda uow: histories.first_spec(uow.connection, study))
        process.begin(Begin(study.id, study.sampler, first, histories.empty(first)))
    is_more = True
    while is_more:
        news = database.read(_News(study.id, after=seen))
        seen = news[-1][0] if news else seen
        process.tell(Tell(study.id, [change for _, change in news]), up_to=seen)
        is_more = len(news) == AT_ONCE
    return seen


@dataclass(frozen=True, slots=True)
class _News:
    """Reads what has happened in a study behind an event, as much as is told at once."""

    study_id: int
    after: int

    def __call__(self, uow: UnitOfWork) -> list[tuple[int, Change | Edit | Prior]]:
        return list(islice(histories.changes(uow.connection, self.study_id, after=self.after), AT_ONCE))
