"""Pages of lists."""

from __future__ import annotations

from typing import Generic, TypeVar

from tunefleet.model import Model

T = TypeVar("T")


class Page(Model, Generic[T]):
    """One page of a list. `next` is the `cursor` of the next page; None on the last page."""

    items: list[T]
    next: str | None = None
    total: int
