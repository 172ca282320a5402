"""Who reached which rung with which value: a fold of a study's events that is asked for ranks.

What a report costs hardly grows with the trials: a place among n values is found in O(log n) comparisons. Making room
there moves up to n numbers in one piece, which among 100,000 takes less time than storing the report's row.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator


class Rung:
    """The trials that count at one rung, the best first; of equal values the one with the lower number is better.

    Attributes:
        paused: value and number of the trials that are paused here, in the same order; the table's to change.
    """

    def __init__(self) -> None:
        self.paused: list[tuple[float, int]] = []
        self._values = array("d")
        self._trials = array("q")

    def __len__(self) -> int:
        """How many trials count."""
        return len(self._values)

    def rank(self, value: float, trial: int) -> int:
        """How many trials here are better than this one, whether or not it counts itself."""
        low, high = bisect_left(self._values, value), bisect_right(self._values, value)
        return bisect_left(self._trials, trial, low, high)

    def quantile(self, share: float) -> float:
        """The value that a share of the trials is better than, between two of them linearly, as numpy has it.

        There must be a trial.
        """
        place = share * (len(self) - 1)
        low, high = self._values[math.floor(place)], self._values[math.ceil(place)]
        return low if low == high else low + (high - low) * (place - math.floor(place))

    def add(self, value: float, trial: int) -> None:
        """Count a trial that does not count yet."""
        place = self.rank(value, trial)
        self._values.insert(place, value)
        self._trials.insert(place, trial)


class RungTable:
    """All rungs of trials that may be compared: those of one study, one stage and one fold.

    Values are minimised. The table is told a study's events in their order: a trial reached a rung (`record`), waits for
    its promotion (`pause`), goes on (`resume`), is over (`end`). The same events give the same table.
    """

    def __init__(self, *, bracket_of: Callable[[int], int], only_complete: bool = False) -> None:
        """An empty table.

        Args:
            bracket_of: the bracket of a trial by its number; trials of different brackets share no rung.
            only_complete: whether a trial counts at its rungs from the moment that it is complete, and not before.
        """
        self._bracket_of = bracket_of
        self._only_complete = only_complete
        self._rungs: dict[tuple[int, int], Rung] = {}
        # By trial number: the last rung that it reached, and its value there.
        self._reached = array("q")
        self._values = array("d")
        self._paused: set[int] = set()
        self._running: dict[int, list[tuple[int, float]]] = {}

    def reached(self, trial: int) -> int:
        """The last rung that a trial reached; 0 before the first."""
        return self._reached[trial] if trial < len(self._reached) else 0

    def at(self, rung: int, *, trial: int) -> Rung:
        """A rung, in the bracket of a trial."""
        return self._rungs.setdefault((rung, self._bracket_of(trial)), Rung())

    def with_paused(self) -> Iterator[Rung]:
        """The rungs at which trials are paused, the highest first."""
        return (rung for _, rung in sorted(self._rungs.items(), reverse=True) if rung.paused)

    def record(self, trial: int, *, rung: int, value: float) -> None:
        """A trial reached a rung; nothing changes when it has been there before.

        A value that is NaN counts as infinite: worse than every number.
        """
        if rung <= self.reached(trial):
            return
        value = math.inf if math.isnan(value) else value
        missing = trial + 1 - len(self._reached)
        if missing > 0:
            self._reached.extend([0] * missing)
            self._values.extend([0.0] * missing)
        self._reached[trial], self._values[trial] = rung, value
        if self._only_complete:
            self._running.setdefault(trial, []).append((rung, value))
        else:
            self.at(rung, trial=trial).add(value, trial)

    def pause(self, trial: int) -> None:
        """A trial is paused at the last rung that it reached; nothing changes when it is paused already."""
        if trial not in self._paused and self.reached(trial) > 0:
            self._paused.add(trial)
            insort(self.at(self.reached(trial), trial=trial).paused, (self._values[trial], trial))

    def resume(self, trial: int) -> None:
        """A trial goes on; nothing changes when it is not paused."""
        if trial in self._paused:
            self._paused.remove(trial)
            paused = self.at(self.reached(trial), trial=trial).paused
            del paused[bisect_left(paused, (self._values[trial], trial))]

    def end(self, trial: int, *, is_complete: bool) -> None:
        """A trial is over: complete, or in another way."""
        self.resume(trial)
        for rung, value in self._running.pop(trial, ()):
            if is_complete:
                self.at(rung, trial=trial).add(value, trial)
