"""The status: the newest studies and the workers."""

from __future__ import annotations

from importlib.metadata import version

from tunefleet.protocol import StatusView
from tunefleet_master.services.reading import workers
from tunefleet_master.services.reading.views import study_views
from tunefleet_master.storage import studies
from tunefleet_master.storage.unit_of_work import UnitOfWork

MAX_STUDIES = 50


def read(uow: UnitOfWork) -> StatusView:
    """Return the newest studies and the workers."""
    newest = studies.page(uow.connection, before_id=None, limit=MAX_STUDIES)
    return StatusView(
        version=version("tunefleet"),
        now=uow.now,
        studies=study_views(uow, newest),
        workers=workers.page(uow),
    )
