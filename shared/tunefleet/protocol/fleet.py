"""The fleet and everything on the first page."""

from __future__ import annotations

from pydantic import AwareDatetime

from tunefleet.model import Model
from tunefleet.names import Name
from tunefleet.protocol.studies import StudyView
from tunefleet.protocol.trials import TrialView
from tunefleet.protocol.workers import WorkerFacts


class WorkerView(Model):
    """A worker as it is read; `alive` while its last beat is younger than a lease."""

    name: Name
    facts: WorkerFacts
    first_seen_at: AwareDatetime
    last_beat_at: AwareDatetime
    alive: bool
    rests_until: AwareDatetime | None = None
    """It takes no trial before, since several failed on it in a row; its facts' `status` says which."""
    trials: list[TrialView]


class StatusView(Model):
    """Everything that the first page shows."""

    version: str
    now: AwareDatetime
    studies: list[StudyView]
    workers: list[WorkerView]
