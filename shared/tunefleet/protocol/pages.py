"""Parts of lists."""

from __future__ import annotations

from typing import Generic, TypeVar

from tunefleet.model import Model

T = TypeVar("T")


class Page(Model, Generic[T]):
    """A part of a list; `next` is the `cursor` of the following part, None at the end."""

    items: list[T]
    next: str | None = None
    total: int
