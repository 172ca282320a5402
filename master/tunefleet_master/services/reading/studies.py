"""Studies as users read them."""

from __future__ import annotations

from tunefleet.errors import InvalidInput, Problem
from tunefleet.protocol import Page, StudyDetail, StudyView
from tunefleet_master.services.reading.views import study_detail, study_views
from tunefleet_master.storage import studies as stored
from tunefleet_master.storage.unit_of_work import UnitOfWork
from tunefleet_master.storage.values import Study

MAX_PAGE = 1_000


def page(uow: UnitOfWork, *, cursor: str | None, limit: int) -> Page[StudyView]:
    """Return a page of studies, newest first; raises InvalidInput."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput([Problem("limit", f"must be from 1 to {MAX_PAGE}", str(limit))])
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise InvalidInput([Problem("cursor", "is not one that a page gave", cursor[:40])])
    found = stored.page(uow.connection, before_id=None if cursor is None else int(cursor), limit=limit)
    more = str(found[-1].id) if len(found) == limit else None
    return Page[StudyView](items=study_views(uow, found), next=more, total=stored.count(uow.connection))


def read(uow: UnitOfWork, name: str) -> StudyDetail:
    """Return a study with its spec; raises NotFound."""
    return detail(uow, stored.get(uow.connection, name))


def detail(uow: UnitOfWork, study: Study) -> StudyDetail:
    """Return a stored study with its spec."""
    return study_detail(uow, study)
