"""A cache of states that are folded from the events of studies.

A state is built from a study's first event when it is first needed, and later only from new events. Every master that
folds the same events has the same state.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from tunefleet.protocol import Event
from tunefleet_master.storage import events
from tunefleet_master.storage.unit_of_work import UnitOfWork

MAX_STATES = 200
_BATCH = 5_000  # events per query


class Foldable(Protocol):
    """A state that events change."""

    def apply(self, event: Event) -> None:
        """Apply the next event of the study."""


S = TypeVar("S", bound=Foldable)


class EventFolds(Generic[S]):
    """States by key, at most MAX_STATES of them; the least recently used one is evicted first. Not thread-safe."""

    def __init__(self) -> None:
        self._states: OrderedDict[Hashable, S] = OrderedDict()
        self._seen: dict[Hashable, int] = {}

    def cached(self, key: Hashable, new: Callable[[], S]) -> S:
        """Return the state as of the last `catch_up`; without one, what `new` makes, which no event has changed yet."""
        if key not in self._states:
            while len(self._states) >= MAX_STATES:
                self.drop(next(iter(self._states)))
            self._states[key] = new()
        self._states.move_to_end(key)
        return self._states[key]

    def catch_up(self, uow: UnitOfWork, key: Hashable, *, study_id: int, new: Callable[[], S]) -> S:
        """Return the state with all events that are committed; the key belongs to this study."""
        state = self.cached(key, new)
        while found := events.after(uow.connection, study_id, self._seen.get(key, 0), limit=_BATCH):
            for event in found:
                state.apply(event)
            self._seen[key] = found[-1].id
        return state

    def drop(self, key: Hashable) -> None:
        """Forget a state; the next call builds it anew."""
        del self._states[key]
        self._seen.pop(key, None)
