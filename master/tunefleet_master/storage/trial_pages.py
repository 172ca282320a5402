"""Lists of trials: filtered, sorted and paged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from tunefleet.errors import InvalidInput, Problem
from tunefleet.model import did_you_mean
from tunefleet.protocol import TrialState
from tunefleet.study.parameters import IntRange, RealRange
from tunefleet_master.storage.tables import IS_TRIAL, TrialRow
from tunefleet_master.storage.trials import selection
from tunefleet_master.storage.values import Study, Trial, trial_of

MAX_LIMIT = 1_000
PARAMETER = "params."

_SORTS: dict[str, ColumnElement[Any]] = {
    "number": TrialRow.__table__.c.number,
    "state": TrialRow.__table__.c.state,
    "value": func.coalesce(TrialRow.__table__.c.value, TrialRow.__table__.c.interim_value),
    "attempt": TrialRow.__table__.c.attempt,
    "worker": TrialRow.__table__.c.worker,
    "started": TrialRow.__table__.c.started_at,
    "finished": TrialRow.__table__.c.finished_at,
    "duration": TrialRow.__table__.c.finished_at - TrialRow.__table__.c.started_at,
}


@dataclass(frozen=True, slots=True)
class TrialQuery:
    """Filters, sort order and page of a list of trials.

    `sort` is the name of a column or parameter. The sort is numeric and ignores the study's goal.
    """

    state: TrialState | None = None
    sort: str = "number"
    descending: bool = False
    cursor: str | None = None
    limit: int = 100
    since: datetime | None = None
    """Only trials whose state has changed since then; reports do not count."""


def best_first(study: Study, *, limit: int) -> TrialQuery:
    """The complete trials of a study, best first; with several objectives, the best in the first objective."""
    is_maximised = study.spec.objective.goal == "maximize"
    return TrialQuery(state=TrialState.COMPLETE, sort="value", descending=is_maximised, limit=limit)


def page(connection: Connection, study: Study, query: TrialQuery) -> tuple[list[Trial], str | None, int]:
    """The trials of a page, the next page's cursor, and the number of trials that match the filters.

    Raises:
        InvalidInput: the sort key, the cursor or the limit is invalid.
    """
    offset = offset_of(query)
    where = [TrialRow.study_id == study.id, IS_TRIAL]
    if query.state is not None:
        where.append(TrialRow.state == query.state)
    if query.since is not None:
        where.append(TrialRow.updated_at >= query.since)
    total = connection.execute(select(func.count()).select_from(TrialRow).where(*where)).scalar_one()
    key = _sort_key(study, query.sort)
    order = key.desc() if query.descending else key.asc()
    rows = selection().where(*where).order_by(order.nulls_last(), TrialRow.number).offset(offset).limit(query.limit)
    trials = [trial_of(row, row.study) for row in connection.execute(rows)]
    end = offset + len(trials)
    return trials, str(end) if end < total else None, total


def offset_of(query: TrialQuery) -> int:
    """The offset of the page; raises InvalidInput."""
    if not 1 <= query.limit <= MAX_LIMIT:
        raise InvalidInput([Problem("limit", f"must be from 1 to {MAX_LIMIT}", str(query.limit))])
    if query.cursor is None:
        return 0
    if not (query.cursor.isascii() and query.cursor.isdigit() and len(query.cursor) < 10):
        raise InvalidInput([Problem("cursor", "is not a cursor that a page returned", query.cursor[:40])])
    return int(query.cursor)


def _sort_key(study: Study, sort: str) -> ColumnElement[Any]:
    if sort in _SORTS:
        return _SORTS[sort]
    name = sort.removeprefix(PARAMETER)
    parameter = study.spec.space.get(name)
    if parameter is None:
        known = [*_SORTS, *(f"{PARAMETER}{name}" for name in study.spec.space)]
        raise InvalidInput([Problem("sort", f"is not a column{did_you_mean(sort, known)}", sort[:80])])
    value = TrialRow.params[name]
    key: ColumnElement[Any] = value.as_float() if isinstance(parameter, RealRange | IntRange) else value.as_string()
    return key
