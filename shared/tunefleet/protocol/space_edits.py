"""A change of a study's space, as it crosses the wire; a message of the protocol."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from tunefleet.model import Model
from tunefleet.names import ParameterName


class SpaceEdit(Model):
    """A change of the space that a study searches: by hand, or by its next stage."""

    version: int
    """Of the space that the change made; trials before it have lower ones."""
    at: AwareDatetime
    changed: dict[ParameterName, tuple[str, str]]
    """What each changed parameter was, and what it has become, in words."""
    stage: int | None = None
    """The stage that began with it, from 0; None: somebody made the change."""
    evidence: list[str] = Field(default_factory=list)
    """Why the box of the stage is what it is, a sentence each."""
