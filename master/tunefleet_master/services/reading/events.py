"""Events of studies."""

from __future__ import annotations

from tunefleet.protocol import Event
from tunefleet_master.storage import events as stored
from tunefleet_master.storage import studies
from tunefleet_master.storage.unit_of_work import UnitOfWork


def after(uow: UnitOfWork, name: str, last_id: int, *, limit: int) -> list[Event]:
    """Return the study's events with ids above `last_id`, oldest first; raises NotFound."""
    study = studies.get(uow.connection, name)
    return stored.after(uow.connection, study.id, last_id, limit=limit)
