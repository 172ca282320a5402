"""Rungs: a fold of a study's events that records which trial reached which rung with which value.

The cost of a report hardly grows with the number of trials. A rank among n values takes O(log n) comparisons. An
insertion moves up to n numbers at once, which for 100,000 numbers takes less time than storing the report's row.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator


class Rung:
    """The trials that count at one rung, the best first; of equal values the trial with the lower number is better.

    Attributes:
        paused: value and number of the trials that are paused here, in the same order; only the table changes it.
    """

    def __init__(self) -> None:
        self.paused: list[tuple[float, int]] = []
        self._values = array("d")
        self._trials = array("q")

    def __len__(self) -> int:
        """Return the number of trials that count."""
        return len(self._values)

    def rank(self, value: float, trial: int) -> int:
        """Return the number of better trials at this rung; the trial itself may count here or not."""
        low, high = bisect_left(self._values, value), bisect_right(self._values, value)
        return bisect_left(self._trials, trial, low, high)

    def quantile(self, share: float) -> float:
        """Return the quantile of the values at a share in [0, 1], interpolated linearly as in numpy.

        The rung must not be empty.
        """
        index = share * (len(self) - 1)
        low, high = self._values[math.floor(index)], self._values[math.ceil(index)]
        return low if low == high else low + (high - low) * (index - math.floor(index))

    def add(self, value: float, trial: int) -> None:
        """Add a trial that does not count yet."""
        index = self.rank(value, trial)
        self._values.insert(index, value)
        self._trials.insert(index, trial)


class RungTable:
    """The rungs of comparable trials: those of one study, one stage and one fold.

    Values are minimised. The table folds a study's events in their order: a trial reaches a rung (`record`), waits for
    promotion (`pause`), continues (`resume`) or ends (`end`). The same events give the same table.
    """

    def __init__(self, *, bracket_of: Callable[[int], int], only_complete: bool = False) -> None:
        """Create an empty table.

        Args:
            bracket_of: returns the bracket of a trial number; trials of different brackets share no rung.
            only_complete: True if a trial counts at its rungs only once it is complete.
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
        """Return the last rung that a trial reached; 0 before the first."""
        return self._reached[trial] if trial < len(self._reached) else 0

    def at(self, rung: int, *, trial: int) -> Rung:
        """Return a rung, in the bracket of a trial."""
        return self._rungs.setdefault((rung, self._bracket_of(trial)), Rung())

    def with_paused(self) -> Iterator[Rung]:
        """Yield the rungs with paused trials, the highest first."""
        return (rung for _, rung in sorted(self._rungs.items(), reverse=True) if rung.paused)

    def record(self, trial: int, *, rung: int, value: float) -> None:
        """Record that a trial reached a rung; does nothing if it has reached this rung before.

        NaN counts as infinity: worse than every number.
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
        """Pause a trial at the last rung that it reached; does nothing if it is paused."""
        if trial not in self._paused and self.reached(trial) > 0:
            self._paused.add(trial)
            insort(self.at(self.reached(trial), trial=trial).paused, (self._values[trial], trial))

    def resume(self, trial: int) -> None:
        """Continue a trial; does nothing if it is not paused."""
        if trial in self._paused:
            self._paused.remove(trial)
            paused = self.at(self.reached(trial), trial=trial).paused
            del paused[bisect_left(paused, (self._values[trial], trial))]

    def end(self, trial: int, *, is_complete: bool) -> None:
        """End a trial."""
        self.resume(trial)
        for rung, value in self._running.pop(trial, ()):
            if is_complete:
                self.at(rung, trial=trial).add(value, trial)
