"""An error as it crosses the wire."""

from __future__ import annotations

from pydantic import Field

from tunefleet.model import Model


class ProblemDetail(Model):
    """What was wrong with one field."""

    field: str
    rule: str
    value: str | None = None


class ProblemDocument(Model):
    """An error as RFC 9457 has it (`application/problem+json`), with our stable `code`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str | None = None
    errors: list[ProblemDetail] = Field(default_factory=list)
    offset: int | None = None
    """With `upload_offset`: the first byte that the master does not hold yet."""
