"""The state of the whole fleet in one message."""

from __future__ import annotations

from pydantic import AwareDatetime

from tunefleet.model import Model
from tunefleet.protocol.studies import StudyView
from tunefleet.protocol.workers import WorkerView


class StatusView(Model):
    """All studies and workers, as the start page shows them."""

    version: str
    now: AwareDatetime
    studies: list[StudyView]
    workers: list[WorkerView]
