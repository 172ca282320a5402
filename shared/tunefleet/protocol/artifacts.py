"""Stored files of trials."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from tunefleet.model import Model
from tunefleet.names import Hash, Name


class ArtifactRef(Model):
    """A stored file of a trial."""

    name: Name
    sha256: Hash
    size_bytes: int = Field(ge=0)
    attempt: int
    created_at: AwareDatetime
