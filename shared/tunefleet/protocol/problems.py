"""Errors on the wire."""

from __future__ import annotations

from pydantic import Field

from tunefleet.model import Model


class ProblemDetail(Model):
    """A rule that one field breaks."""

    field: str
    rule: str
    value: str | None = None


class ProblemDocument(Model):
    """An error in the form of RFC 9457 (`application/problem+json`), with a stable `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    errors: list[ProblemDetail] = Field(default_factory=list)
    offset: int | None = None
    """With the code `upload_offset`: the first byte that the master does not have yet."""
