"""Updates of a history process with the events of a study."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from tunefleet_master.search.history import Change, Edit, Prior
from tunefleet_master.services.planning import histories
from tunefleet_master.services.planning.history_process import Begin, HistoryProcess, Update
from tunefleet_master.storage.database import Database
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

MAX_CHANGES = 5_000  # in one message


def catch_up(process: HistoryProcess, study: Study, *, database: Database) -> int:
    """Send the process all new changes of a study; return the id of the last event with a change, 0 for none.

    No transaction is open while the process works. Raises the error of the process.
    """
    seen = process.seen(study.id)
    if seen == 0:
        first = database.read(lambda uow: histories.first_spec(uow.connection, study))
        process.begin(Begin(study.id, study.sampler, first, histories.empty(first)))
    has_more = True
    while has_more:
        found = database.read(_Changes(study.id, after=seen))
        seen = found[-1][0] if found else seen
        process.update(Update(study.id, [change for _, change in found]), up_to=seen)
        has_more = len(found) == MAX_CHANGES
    return seen


@dataclass(frozen=True, slots=True)
class _Changes:
    """A query for the next MAX_CHANGES changes of a study after an event, each with the id of its event."""

    study_id: int
    after: int

    def __call__(self, uow: UnitOfWork) -> list[tuple[int, Change | Edit | Prior]]:
        return list(islice(histories.changes(uow.connection, self.study_id, after=self.after), MAX_CHANGES))
