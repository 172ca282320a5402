"""Events of a study."""

from __future__ import annotations

from pydantic import AwareDatetime, JsonValue

from tunefleet.model import Model


class Event(Model):
    """An event in a study. Ids increase; a stream resumes after `Last-Event-ID`."""

    id: int
    kind: str
    """`trial.waiting`, `trial.running`, `trial.complete`, … and `study.running`, `study.paused`, …"""
    trial: int | None
    """The trial's number."""
    at: AwareDatetime
    data: dict[str, JsonValue]
